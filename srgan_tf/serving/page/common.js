// What both elements use. All scripts of this folder stand in one function (web_page.py).
// Lengths: "photo" is in pixels of the photo, "css" in those of the layout.
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

// What screen readers are told: its element (web_page.py) stays where it is, unlike all others.
const say = (text) => {
  const said = document.querySelector("#said");
  if (said) said.textContent = text;
};
// "Upscale" loses the focus to nothing while it is disabled, unless that was too short to notice.
const focusLost = () => [null, document.body, document.querySelector("#go")]
  .includes(document.activeElement);

// What the buttons of the page call.
window.srgan = {
  begin(model) {
    say("Upscaling…");
    return [model, document.querySelector("srgan-crop").region];
  },
  // Without a comparison it was cancelled, or an alert says what is wrong.
  end() {
    if (document.querySelector("srgan-compare")) return;
    say(document.querySelector("[role=alert]") ? "" : "Cancelled.");
    if (focusLost()) document.querySelector("#go")?.focus();
  },
};
