/** Files dropped on the list, or chosen, sent to the box one after the other. */

import { pause } from './api.js';
import { t } from './language.js';

const RETRY_MS = 3000;
const TRIES = 5; // of a file that the box can't take just now
const BUSY = 503;
const SHOWN = 200; // files listed with what became of them

const panel = document.getElementById('imports');
const said = document.getElementById('imports-said');
const shown = document.getElementById('imports-files');

/** @typedef {{name: string, file: () => Promise<File>}} Item */

/** @type {Item[]} */
const queue = [];
let total = 0;
let done = 0;
let failed = 0;
let sending = false;

/**
 * @param {File} file
 * @param {(share: number) => void} progress from 0 to 1
 * @returns {Promise<{status: number, answer: any}>} status 0 when the box could not be reached
 */
function send(file, progress) {
  const request = new XMLHttpRequest(); // fetch tells nothing of how far an upload is
  const ended = new Promise((resolve) => {
    request.onloadend = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // No answer, or not the box's own.
      }
      resolve({ status: request.status, answer });
    };
  });
  request.upload.onprogress = (event) => progress(event.loaded / (event.total || 1));
  request.open('POST', '/api/imports');
  request.setRequestHeader('Content-Type', 'application/octet-stream');
  request.setRequestHeader('X-CSRFToken', document.querySelector('meta[name=csrf-token]').content);
  request.send(file);
  return ended;
}

/**
 * @param {Item} item
 * @returns {Promise<{ok: boolean, words: string, url?: string}>}
 */
async function take(item, progress) {
  let file;
  try {
    file = await item.file();
  } catch {
    return { ok: false, words: t('This tablet could not read the file.') };
  }
  for (let tries = 1; ; tries += 1) {
    const { status, answer } = await send(file, progress);
    if (status === 401) location.reload();
    if (status === 200 || status === 201) return { ok: true, words: answer.said, url: answer.url };
    if (tries === TRIES || (status !== 0 && status !== BUSY)) {
      return { ok: false, words: answer.detail ?? t('The box does not answer: the file was not kept.') };
    }
    said.textContent = `▲ ${t('The box does not answer.')} ${t('Trying again.')}`;
    await pause(RETRY_MS);
  }
}

function tell(share = 0) {
  const bad = failed ? t('{failed} could not be imported.', { failed }) : '';
  const numbers = { number: done + 1, total, share: Math.round(100 * share), good: total - failed };
  const now = sending ? t('Importing file {number} of {total}: {share} %.', numbers) : t('{good} of {total} imported.', numbers);
  said.textContent = `${now} ${bad}`.trim();
}

/** One line for each file; the oldest that went well make room. */
function note(item, { ok, words, url }) {
  const line = document.createElement('li');
  const name = document.createElement(url ? 'a' : 'span');
  name.textContent = item.name;
  if (url) name.href = url;
  const sign = document.createElement('span');
  sign.className = `sign ${ok ? 'good' : 'broken'}`;
  sign.setAttribute('aria-hidden', 'true');
  sign.textContent = ok ? '✓' : '▲';
  line.dataset.ok = String(ok);
  line.append(sign, name, ` ${words}`);
  shown.prepend(line);
  if (shown.children.length > SHOWN) [...shown.querySelectorAll('[data-ok=true]')].at(-1)?.remove();
}

async function work() {
  if (sending) return;
  sending = true;
  let item;
  while ((item = queue.shift())) {
    tell();
    const fate = await take(item, tell);
    done += 1;
    if (!fate.ok) failed += 1;
    note(item, fate);
  }
  sending = false;
  tell();
}

/** @param {Item[]} items */
function add(items) {
  if (!items.length) return;
  if (!sending) {
    total = done = failed = 0;
    shown.replaceChildren();
  }
  panel.hidden = false;
  total += items.length;
  queue.push(...items);
  work();
}

const whole = (files) => [...files].map((file) => ({ name: file.webkitRelativePath || file.name, file: async () => file }));

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<Item[]>} it, or all that is below it
 */
async function below(entry) {
  if (entry.isFile) {
    const file = () => new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ name: entry.fullPath.slice(1), file }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some);
  }
  found.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  return (await Promise.all(found.map(below))).flat();
}

const hasFiles = (event) => event.dataTransfer?.types.includes('Files');

addEventListener('dragover', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add('dropping');
});
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dropping');
});
addEventListener('drop', async (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove('dropping');
  const { items, files } = event.dataTransfer;
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  add(entries.length ? (await Promise.all(entries.map(below))).flat() : whole(files));
});

for (const id of ['files', 'folder']) {
  const input = document.getElementById(id);
  input.addEventListener('change', () => {
    add(whole(input.files));
    input.value = '';
  });
}
document.getElementById('import').addEventListener('click', () => {
  panel.hidden = false;
  if (!total) said.textContent = t('Choose DICOM files, or drop files and folders anywhere on this page.');
  document.getElementById('files').click();
});
document.getElementById('imports-folder').addEventListener('click', () => document.getElementById('folder').click());
document.getElementById('imports-close').addEventListener('click', () => (panel.hidden = true));
addEventListener('beforeunload', (event) => sending && event.preventDefault());
