/** Initials and PIN, by finger or by keyboard: letters choose who, digits are the PIN. */

import * as drafts from './drafts.js';
import { all } from './pending.js';

const LETTERS_MS = 1500; // letters typed within belong together

const form = document.getElementById('sign-in');
const pin = document.getElementById('pin');
const names = [...form.querySelectorAll('input[name=user]')];
let letters = '';
let typed = 0;

/** @param {HTMLInputElement} name */
function choose(name) {
  name.checked = true;
  pin.focus();
}

/** @param {string} letter */
function spell(letter) {
  letters = Date.now() - typed > LETTERS_MS ? letter : letters + letter;
  typed = Date.now();
  const wanted = letters.toUpperCase();
  const found = names.find(({ value }) => value.startsWith(wanted));
  if (found) choose(found);
}

function press({ target }) {
  const { digit } = target.closest('button')?.dataset ?? {};
  if (digit === undefined) return;
  pin.value = digit ? (pin.value + digit).slice(0, pin.maxLength) : pin.value.slice(0, -1);
}

// Only where nobody is signed in: before that, `lock.js` still has to tell the box.
if (!document.querySelector('meta[name=lock-after]')) {
  try {
    localStorage.removeItem('echocart.locked');
  } catch {
    // Storage is off: nothing was kept.
  }
}
const waiting = document.getElementById('waiting');
for (const who of new Set(all().map(({ reviewer }) => reviewer))) {
  waiting.append(` ${who}`);
  waiting.hidden = false;
}
document.getElementById('pad').hidden = false;
document.getElementById('pad').addEventListener('click', press);
pin.inputMode = 'none'; // the page's own digits, not the tablet's keyboard over them
for (const name of names) name.addEventListener('click', () => choose(name));
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^\p{L}$/u.test(event.key)) {
    event.preventDefault();
    spell(event.key);
  } else if (/^[0-9]$/.test(event.key) && document.activeElement !== pin) {
    pin.focus();
  }
});
form.addEventListener('submit', (event) => {
  if (form.dataset.sent) event.preventDefault(); // a second tap is not a second try
  form.dataset.sent = 'yes';
});
document.getElementById('sign-out')?.addEventListener('submit', () => {
  drafts.wipe(document.body.dataset.locked);
});
// The browser's back button shows the form as it was left.
addEventListener('pageshow', ({ persisted }) => {
  if (!persisted) return; // what is typed before the last picture has come stays
  pin.value = '';
  delete form.dataset.sent;
});
