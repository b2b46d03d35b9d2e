/** The worklist, kept current without moving what a finger is about to touch. */

import { getJSON, getText, persist } from './api.js';
import * as drafts from './drafts.js';
import * as pending from './pending.js';

const POLL_MS = 1000;
const CALM_MS = 2000; // after this long without a touch, rows may move

const list = document.getElementById('studies');
const news = document.getElementById('news');
let version = Number(document.body.dataset.version);
let touched = 0;
let waiting = null;

for (const kind of ['pointerdown', 'pointermove', 'scroll', 'keydown']) {
  document.addEventListener(kind, () => (touched = performance.now()), { passive: true });
}

/** @returns {boolean} whether somebody may be about to touch a row */
function busy() {
  return performance.now() - touched < CALM_MS || list.contains(document.activeElement);
}

/** @param {HTMLElement} fresh studies as the box lists them now */
function reorder(fresh) {
  const standing = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const rows = [...fresh.children].map((row) => {
    const old = standing.get(row.dataset.key);
    return old && old.dataset.digest === row.dataset.digest ? old : row;
  });
  list.replaceChildren(...rows);
  news.replaceChildren();
  waiting = null;
}

/** Renew the rows that stand where they stand; leave new ones and a new order for later. */
function renewInPlace(fresh) {
  const rows = new Map([...fresh.children].map((row) => [row.dataset.key, row]));
  for (const old of [...list.children]) {
    const row = rows.get(old.dataset.key);
    if (!row || row.dataset.digest === old.dataset.digest) continue;
    if (row.querySelectorAll('.loop').length !== old.querySelectorAll('.loop').length) continue;
    if (!old.contains(document.activeElement)) old.replaceWith(row.cloneNode(true));
  }
  waiting = fresh;
  announce(fresh);
}

function announce(fresh) {
  const standing = new Set([...list.querySelectorAll('[data-seq]')].map((row) => row.dataset.seq));
  const seqs = [...fresh.querySelectorAll('[data-seq]')].map((row) => row.dataset.seq);
  const count = seqs.filter((seq) => !standing.has(seq)).length;
  if (!count || news.querySelector('button')?.dataset.count === String(count)) return;
  const button = document.createElement('button');
  button.textContent = count === 1 ? '1 new loop: show it' : `${count} new loops: show them`;
  button.dataset.count = String(count);
  button.addEventListener('click', () => reorder(waiting));
  news.replaceChildren(button);
}

async function refresh() {
  const fresh = document.createElement('div');
  const page = new DOMParser().parseFromString(await getText('/studies'), 'text/html');
  fresh.append(...page.body.children);
  if (busy()) renewInPlace(fresh);
  else reorder(fresh);
}

async function poll() {
  try {
    const now = (await getJSON('/api/version')).version;
    if (now !== version) {
      await refresh();
      version = now;
    } else if (waiting && !busy()) {
      reorder(waiting);
    }
    if (news.dataset.silent) news.replaceChildren();
    delete news.dataset.silent;
  } catch (problem) {
    news.textContent = problem.message;
    news.dataset.silent = 'yes';
  }
  setTimeout(poll, POLL_MS);
}

function say(text, tone) {
  const said = document.getElementById('said');
  said.textContent = text;
  said.className = `said ${tone}`;
}

function complain(sentence) {
  const problem = document.getElementById('problem');
  problem.textContent = [problem.textContent, sentence].filter(Boolean).join(' ');
  problem.hidden = false;
}

/** Send what was decided on this tablet while the box could not be reached. */
async function sendPending() {
  for (const item of pending.all()) {
    if (item.reviewer !== document.body.dataset.reviewer) {
      complain(`A decision of ${item.reviewer} waits on this tablet. Sign in as ${item.reviewer} to send it.`);
      continue;
    }
    say('● a decision kept here, not yet on the box', 'attention');
    try {
      const answer = await persist(() => pending.send(item));
      drafts.store(item.body.analysis_sha256, null);
      say(answer.said, 'good');
    } catch (problem) {
      say('', '');
      complain(`A decision made before was not taken: ${problem.message}`);
    }
  }
}

setTimeout(poll, POLL_MS);
sendPending();
