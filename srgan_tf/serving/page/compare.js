// <srgan-compare>: before | after, zoomed.
class Compare extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    this.attachShadow({ mode: "open" });
    this.build();
  }

  // Gradio may give an element new attributes instead of a new element: first all of them.
  static get observedAttributes() { return ["after"]; }
  attributeChangedCallback() { if (this.shadowRoot) queueMicrotask(() => this.build()); }

  build() {
    const root = this.shadowRoot;
    this.observer?.disconnect();
    this.removeAttribute("ready");
    this.picture = { width: number(this, "width"), height: number(this, "height") };
    root.innerHTML = `<style>${COMMON}
      /* As high as the pictures need, so that no empty room is above and below them on phones. */
      .view { position: relative; overflow: hidden; touch-action: none; cursor: grab; width: 100%;
        aspect-ratio: ${this.picture.width} / ${this.picture.height}; min-height: 15rem;
        max-height: clamp(18rem, 68vh, 46rem); border-radius: .6rem; ${CHECKS};
        border: 1px solid var(--border-color-primary); margin: .9rem 0 .6rem; }
      .view:active { cursor: grabbing; }
      .layer { position: absolute; inset: 0; overflow: hidden; }
      img { position: absolute; left: 0; top: 0; max-width: none; transform-origin: 0 0;
        user-select: none; -webkit-user-drag: none; }
      .sharp img { image-rendering: pixelated; }
      .line { position: absolute; top: 0; bottom: 0; width: 2.75rem; margin-left: -1.375rem;
        cursor: ew-resize; }
      .line::before { content: ""; position: absolute; left: 50%; top: 0; bottom: 0; width: 2px;
        margin-left: -1px; background: #fff; box-shadow: 0 0 4px #000; }
      .line::after { content: "‹ ›"; position: absolute; left: 50%; top: 50%; width: 2.4rem;
        height: 2.4rem; margin: -1.2rem; border-radius: 50%; background: #fff; color: #222;
        display: grid; place-items: center; font: 600 1.05rem/1 system-ui, sans-serif;
        box-shadow: 0 1px 6px #0008; }
      .tag { position: absolute; bottom: .6rem; padding: .3rem .6rem; border-radius: .4rem;
        background: #000b; color: #fff; font-size: .8rem; pointer-events: none; }
      .before { left: .6rem } .after { right: .6rem }
      input { width: 100%; accent-color: var(--color-accent); }
      .zooms button { min-width: 2.9rem; }
      .sr { position: absolute; clip-path: inset(50%); }
      :host(:fullscreen) { background: var(--body-background-fill); padding: 1rem; }
      :host(:fullscreen) .view { height: calc(100vh - 9.5rem); max-height: none; }</style>
    <div class="row">
      <span class="row zooms" role="group" aria-label="Zoom"></span>
      <button id="full" type="button">Full screen</button>
      <span class="quiet" id="note"></span>
      <span class="grow"></span>
      <a class="button main" id="download">Download</a></div>
    <div class="view" tabindex="0" role="group" aria-label="Before and after. Arrow keys move the
      pictures, plus and minus zoom, 0 shows all.">
      <div class="layer" id="left"><img id="before"></div>
      <div class="layer" id="right"><img id="after"></div>
      <span class="tag before">bicubic</span><span class="tag after"></span>
      <div class="line"></div></div>
    <label class="quiet"><span class="sr">Before or after</span>
      <input type="range" id="divider" min="0" max="1000" value="500"
        aria-label="How much of the view shows bicubic, the rest shows the upscaled photo"></label>`;
    this.$ = (selector) => root.querySelector(selector);
    const model = this.getAttribute("model");
    this.$(".tag.after").textContent = model;
    for (const [id, alt] of [["before", "Enlarged by bicubic"], ["after", `Upscaled by ${model}`]])
      Object.assign(this.$("#" + id), { src: this.getAttribute(id), alt, draggable: false });
    const link = this.$("#download"), name = this.getAttribute("name");
    Object.assign(link, { href: this.getAttribute("after"), download: name });
    link.textContent = "Download PNG";
    link.title = name;
    for (const [text, zoom] of [["All", null], ["1:1", 1], ["2×", 2], ["4×", 4], ["8×", 8]]) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, onclick: () => this.zoomTo(zoom) });
      button.dataset.zoom = zoom;
      this.$(".zooms").append(button);
    }
    const view = this.$(".view");
    this.divider = 0.5;
    this.$("#divider").oninput = (event) => this.divide(event.target.value / 1000);
    this.$("#full").onclick = () =>
      document.fullscreenElement ? document.exitFullscreen() : this.requestFullscreen();
    view.onpointerdown = (event) => this.drag(event);
    view.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    view.ondblclick = (event) => this.zoomTo(this.all ? 4 : null, event);
    view.onkeydown = (event) => this.key(event);
    this.all = true;
    this.observer = new ResizeObserver(() => this.all ? this.zoomTo(null) : this.place());
    this.observer.observe(view);
    this.$("#after").onload = () => {
      if (focusLost()) view.focus({ preventScroll: true });
      say(`Done: ${this.picture.width} × ${this.picture.height} pixels.`);
      this.setAttribute("ready", "");
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "nearest" });
    };
    this.zoomTo(null);
  }

  disconnectedCallback() { this.observer?.disconnect(); }

  get view() { return this.$(".view").getBoundingClientRect(); }
  // Zoom counts pixels of the screen per pixel of the picture.
  get fitting() {
    const { width, height } = this.view;
    return Math.min(width / this.picture.width, height / this.picture.height) * devicePixelRatio;
  }

  zoomTo(zoom, event) {
    const view = this.view, old = this.zoom || 1;
    this.all = zoom === null;
    this.zoom = this.all ? this.fitting : clamp(zoom, Math.min(this.fitting, 1), 16);
    if (this.all) {
      this.x = (view.width - (this.picture.width * this.zoom) / devicePixelRatio) / 2;
      this.y = (view.height - (this.picture.height * this.zoom) / devicePixelRatio) / 2;
    } else {
      // What is under the pointer (or in the middle) stays there.
      const x = event ? event.clientX - view.left : view.width / 2;
      const y = event ? event.clientY - view.top : view.height / 2;
      this.x = x - ((x - this.x) * this.zoom) / old;
      this.y = y - ((y - this.y) * this.zoom) / old;
    }
    this.place();
  }

  place() {
    const view = this.view, css = this.zoom / devicePixelRatio;
    const keep = (at, size, room) =>
      size <= room ? (room - size) / 2 : clamp(at, room - size, 0);
    this.x = keep(this.x, this.picture.width * css, view.width);
    this.y = keep(this.y, this.picture.height * css, view.height);
    for (const id of ["before", "after"])
      this.$("#" + id).style.transform =
        `translate(${Math.round(this.x)}px, ${Math.round(this.y)}px) scale(${css})`;
    // Between 1 and 2, squares of unequal size would look worse than they are.
    this.$(".view").classList.toggle("sharp", this.zoom >= 2 || this.zoom === 1);
    for (const button of this.$(".zooms").children)
      button.setAttribute("aria-pressed", String(button.dataset.zoom === "null" ? this.all
        : !this.all && Number(button.dataset.zoom) === this.zoom));
    this.$("#note").textContent = `${Math.round(100 * this.zoom)} % of ` +
      `${this.picture.width} × ${this.picture.height} pixels`;
    this.divide(this.divider);
  }

  divide(share) {
    this.divider = clamp(share, 0, 1);
    const percent = 100 * this.divider;
    this.$("#left").style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
    this.$("#right").style.clipPath = `inset(0 0 0 ${percent}%)`;
    this.$(".line").style.left = `${percent}%`;
    this.$("#divider").value = Math.round(1000 * this.divider);
  }

  drag(event) {
    if (event.button) return;
    const view = this.view, dividing = event.composedPath()[0] === this.$(".line");
    const start = { x: event.clientX - this.x, y: event.clientY - this.y };
    const target = this.$(".view");
    target.setPointerCapture(event.pointerId);
    target.onpointermove = (one) => {
      if (dividing) return this.divide((one.clientX - view.left) / view.width);
      this.x = one.clientX - start.x;
      this.y = one.clientY - start.y;
      this.place();
    };
    target.onpointerup = target.onpointercancel = () =>
      (target.onpointermove = target.onpointerup = target.onpointercancel = null);
  }

  wheel(event) {
    event.preventDefault();
    const zoom = this.zoom * Math.exp(-event.deltaY / 400);
    this.zoomTo(zoom <= this.fitting ? null : zoom, event);
  }

  key(event) {
    const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (moves[event.key]) {
      this.x += 60 * moves[event.key][0];
      this.y += 60 * moves[event.key][1];
      this.place();
    } else if ("+=".includes(event.key)) this.zoomTo(this.zoom * 2);
    else if (event.key === "-") this.zoomTo(this.zoom / 2 <= this.fitting ? null : this.zoom / 2);
    else if (event.key === "0") this.zoomTo(null);
    else return;
    event.preventDefault();
  }
}

customElements.define("srgan-compare", Compare);
