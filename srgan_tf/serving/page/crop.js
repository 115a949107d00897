// <srgan-crop>: a photo and the part of it that is chosen.
class Crop extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    this.photo = { width: number(this, "width"), height: number(this, "height") };
    this.limit = number(this, "limit");
    this.chosen = null;
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>${COMMON}
      .stage { position: relative; display: block; margin: 0 auto;
        touch-action: none; cursor: crosshair; border-radius: .5rem; overflow: hidden; ${CHECKS}; }
      img { display: block; width: 100%; user-select: none; -webkit-user-drag: none; }
      .box { position: absolute; cursor: move; box-shadow: 0 0 0 9999px #000a;
        outline: 2px solid #fff; }
      .box i { position: absolute; width: 1.4rem; height: 1.4rem; margin: -.7rem; }
      .box i::after { content: ""; position: absolute; inset: .35rem; background: #fff;
        border-radius: 50%; box-shadow: 0 0 3px #000; }
      [data-x="0"] { left: 0 } [data-x="1"] { left: 100% }
      [data-y="0"] { top: 0 } [data-y="1"] { top: 100% }
      i[data-x="0"][data-y="0"], i[data-x="1"][data-y="1"] { cursor: nwse-resize }
      i[data-x="1"][data-y="0"], i[data-x="0"][data-y="1"] { cursor: nesw-resize }
      .tools { margin-top: .9rem; }
      label { display: inline-flex; align-items: center; gap: .35rem; font-size: .875rem; }
      input { font: inherit; width: 5.2rem; padding: .35rem .45rem; border-radius: .4rem;
        color: inherit; background: var(--input-background-fill);
        border: 1px solid var(--border-color-primary); }
      [hidden] { display: none !important; }
      .size { font-variant-numeric: tabular-nums; font-weight: 600; }</style>
    <div class="stage"><img alt="Your photo"><div class="box" tabindex="0" role="group" hidden
      aria-label="Part of the photo. Arrow keys move it, with Shift they change its size."
      ><i data-x="0" data-y="0"></i><i data-x="1" data-y="0"></i><i data-x="0" data-y="1"></i
      ><i data-x="1" data-y="1"></i></div></div>
    <div class="tools row">
      <button id="whole" type="button">Whole photo</button>
      <button id="part" type="button">A part</button>
      <span class="row fields" hidden>
        <label>left <input id="left" type="number" min="0"></label>
        <label>top <input id="top" type="number" min="0"></label>
        <label>width <input id="width" type="number" min="1"></label>
        <label>height <input id="height" type="number" min="1"></label></span>
      <span class="grow"></span>
      <span class="size" role="status"></span></div>
    <p class="quiet" id="hint"></p>`;
    this.$ = (selector) => root.querySelector(selector);
    this.$("img").src = this.getAttribute("src");
    // Small photos are shown larger: a part is hard to choose from a stamp.
    const ratio = this.photo.width / this.photo.height;
    this.$(".stage").style.width = `min(100%, ${24 * ratio}rem)`;
    this.$("img").style.aspectRatio = ratio;
    const fits = this.photo.width * this.photo.height <= this.limit;
    this.$("#whole").disabled = !fits;
    this.$("#hint").textContent = fits
      ? "Drag over the photo to choose a part of it."
      : `This photo is too large for one go (at most ${grouped(this.limit)} pixels): choose a part.`;
    this.$("#whole").onclick = () => this.choose(null);
    this.$("#part").onclick = () => this.choose(this.middle());
    for (const name of ["left", "top", "width", "height"])
      this.$("#" + name).onchange = (event) =>
        this.choose({ ...this.chosen, [name]: Math.round(Number(event.target.value) || 0) });
    this.$(".stage").onpointerdown = (event) => this.drag(event);
    this.$(".box").onkeydown = (event) => this.key(event);
    this.choose(fits ? null : this.middle());
    say(`Your photo is open: ${this.photo.width} × ${this.photo.height} pixels.`);
  }

  static get observedAttributes() { return ["scale"]; }
  attributeChangedCallback() { if (this.$) this.paint(); }

  // What is sent: null for the whole photo.
  get region() { return this.chosen; }

  middle() {
    const share = Math.min(0.5, Math.sqrt(this.limit / (this.photo.width * this.photo.height)));
    const width = Math.max(1, Math.floor(this.photo.width * share));
    const height = Math.max(1, Math.floor(this.photo.height * share));
    return { left: (this.photo.width - width) >> 1, top: (this.photo.height - height) >> 1,
      width, height };
  }

  choose(part) {
    if (part) {
      const width = clamp(part.width, 1, Math.min(this.photo.width, this.limit));
      const height = clamp(part.height, 1,
        Math.min(this.photo.height, Math.floor(this.limit / width)));
      part = { left: clamp(part.left, 0, this.photo.width - width),
        top: clamp(part.top, 0, this.photo.height - height), width, height };
    }
    this.chosen = part;
    this.paint();
  }

  paint() {
    const scale = number(this, "scale"), { width, height } = this.chosen || this.photo;
    this.$("#whole").setAttribute("aria-pressed", String(!this.chosen));
    this.$("#part").setAttribute("aria-pressed", String(!!this.chosen));
    this.$(".fields").hidden = this.$(".box").hidden = !this.chosen;
    this.$(".size").textContent =
      `${width} × ${height}  →  ${width * scale} × ${height * scale} pixels`;
    if (!this.chosen) return;
    const percent = (value, whole) => `${(100 * value) / whole}%`;
    Object.assign(this.$(".box").style, {
      left: percent(this.chosen.left, this.photo.width),
      top: percent(this.chosen.top, this.photo.height),
      width: percent(width, this.photo.width),
      height: percent(height, this.photo.height) });
    for (const name of ["left", "top", "width", "height"])
      this.$("#" + name).value = this.chosen[name];
  }

  drag(event) {
    if (event.button) return;
    event.preventDefault();
    const bounds = this.$(".stage").getBoundingClientRect();
    const at = (one) => ({
      x: clamp(((one.clientX - bounds.left) / bounds.width) * this.photo.width, 0, this.photo.width),
      y: clamp(((one.clientY - bounds.top) / bounds.height) * this.photo.height, 0,
        this.photo.height) });
    const target = event.composedPath()[0], start = at(event), old = this.chosen;
    const moving = target === this.$(".box");
    // A corner is drawn from the one opposite, a new box from where it begins.
    const fixed = target.dataset?.x !== undefined && old
      ? { x: old.left + (target.dataset.x === "0" ? old.width : 0),
          y: old.top + (target.dataset.y === "0" ? old.height : 0) }
      : start;
    const move = (one) => {
      const now = at(one);
      if (moving)
        return this.choose({ ...old, left: Math.round(old.left + now.x - start.x),
          top: Math.round(old.top + now.y - start.y) });
      const width = Math.round(Math.abs(now.x - fixed.x));
      const height = Math.round(Math.abs(now.y - fixed.y));
      // A click is not a box.
      if (width * bounds.width < 4 * this.photo.width) return;
      this.choose({ left: Math.round(Math.min(now.x, fixed.x)),
        top: Math.round(Math.min(now.y, fixed.y)), width, height });
    };
    const stage = this.$(".stage");
    stage.setPointerCapture(event.pointerId);
    stage.onpointermove = move;
    stage.onpointerup = stage.onpointercancel = () =>
      (stage.onpointermove = stage.onpointerup = stage.onpointercancel = null);
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const pixels = Math.max(1, Math.round(this.photo.width / 100));
    const [across, down] = step.map((one) => one * pixels);
    const { left, top, width, height } = this.chosen;
    this.choose(event.shiftKey
      ? { left, top, width: width + across, height: height + down }
      : { left: left + across, top: top + down, width, height });
  }
}

customElements.define("srgan-crop", Crop);
