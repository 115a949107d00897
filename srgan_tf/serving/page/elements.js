// Two elements of the page, without any library:
// <srgan-crop>: a photo and the part of it that is chosen; <srgan-compare>: before | after, zoomed.
// Lengths: "photo" is in pixels of the photo, "css" in those of the layout.
(() => {
  const COMMON = `
    :host { display: block; color: var(--body-text-color); font-family: inherit; }
    * { box-sizing: border-box; }
    button, a.button { font: inherit; font-size: .875rem; font-weight: 500; line-height: 1;
      padding: .55rem .75rem; border-radius: .5rem; cursor: pointer; text-decoration: none;
      color: var(--body-text-color); background: var(--background-fill-primary);
      border: 1px solid var(--border-color-primary); }
    button:hover, a.button:hover { border-color: var(--color-accent); }
    button:disabled { opacity: .45; cursor: not-allowed; }
    button[aria-pressed=true] { color: var(--color-accent); border-color: var(--color-accent); }
    a.button.main { color: #fff; background: var(--srgan-strong); border-color: var(--srgan-strong);
      font-weight: 600; padding: .7rem 1.1rem; margin-left: auto; }
    a.button.main:hover { filter: brightness(1.1); }
    :focus-visible { outline: 3px solid var(--color-accent); outline-offset: 2px; }
    .row { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
    .grow { flex: 1; }
    .quiet { color: var(--body-text-color-subdued); font-size: .875rem; }`;
  const CHECKS = `background: repeating-conic-gradient(#8883 0 25%, #8881 0 50%) 0 0 / 20px 20px`;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const number = (element, name) => Number(element.getAttribute(name));
  const grouped = (value) => value.toLocaleString("en-GB");

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

  class Compare extends HTMLElement {
    connectedCallback() {
      if (this.shadowRoot) return;
      this.picture = { width: number(this, "width"), height: number(this, "height") };
      const root = this.attachShadow({ mode: "open" });
      root.innerHTML = `<style>${COMMON}
        .view { position: relative; overflow: hidden; touch-action: none; cursor: grab;
          height: clamp(18rem, 68vh, 46rem); border-radius: .6rem; ${CHECKS};
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
        :host(:fullscreen) .view { height: calc(100vh - 9.5rem); }</style>
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

  customElements.define("srgan-crop", Crop);
  customElements.define("srgan-compare", Compare);
})();
