/** The worklist, kept current without moving what a finger is about to touch. */

import { getJSON, persist } from './api.js';
import * as drafts from './drafts.js';
import { listen } from './events.js';
import './importing.js';
import * as pending from './pending.js';

const CALM_MS = 2000; // after this long without a touch, rows may move
const REFRESH_MS = 300; // at most so often: a study that arrives is a hundred changes
const TYPING_MS = 250;
const TOP_PX = 8; // further down, rows stay where they are
const KEYS = 100; // rows asked for at a time

const list = document.getElementById('studies');
const news = document.getElementById('news');
const link = document.getElementById('link');
const search = document.getElementById('search');
const filters = [...document.querySelectorAll('button[data-show]')];

let show = document.body.dataset.show;
let after = document.body.dataset.after; // "" when every study is on the page
let version = Number(document.body.dataset.version);
let touched = 0;
let waiting = null; // rows in a new order, for when nobody is about to touch one
let refreshing = false;
let again = false;

for (const kind of ['pointerdown', 'pointermove', 'scroll', 'keydown']) {
  document.addEventListener(kind, () => (touched = performance.now()), { passive: true });
}

/** @returns {boolean} whether somebody may be about to touch a row, or reads further down */
function busy() {
  const calm = performance.now() - touched > CALM_MS && scrollY < TOP_PX;
  return !calm || list.contains(document.activeElement);
}

/**
 * @param {Record<string, string>} wanted
 * @returns {Promise<any>} a part of the list; what is searched for goes in no address
 */
function ask(wanted) {
  const sought = search.value.trim();
  const headers = sought ? { 'Echocart-Search': encodeURIComponent(sought) } : {};
  return getJSON(`/api/studies?${new URLSearchParams({ show: sought ? 'all' : show, ...wanted })}`, headers);
}

/**
 * @param {string} html
 * @returns {HTMLElement}
 */
function element(html) {
  return new DOMParser().parseFromString(html, 'text/html').body.firstElementChild;
}

const rows = () => [...list.querySelectorAll('.study')];
const seqs = (among) => among.flatMap((row) => [...row.querySelectorAll('[data-seq]')]).map((it) => it.dataset.seq);

/** What stands above and below the rows: numbers, the engine's trouble, the end. */
function describe(part) {
  for (const button of filters) {
    button.querySelector('.count').textContent = part.counts[button.dataset.show];
  }
  const engine = document.getElementById('engine');
  engine.hidden = !part.engine;
  engine.querySelector('.words').textContent = part.engine;
}

function close() {
  const none = !list.querySelector('.study');
  document.getElementById('none').hidden = !none || Number(filters[0].querySelector('.count').textContent) === 0;
  document.getElementById('empty').hidden = !none || document.getElementById('none').hidden === false;
  document.getElementById('end').hidden = none || Boolean(after);
}

/** @param {HTMLElement[]} fresh every row in the order shown */
function reorder(fresh) {
  const standing = new Set(rows().map((row) => row.dataset.key));
  for (const row of fresh) row.classList.toggle('arrived', !standing.has(row.dataset.key));
  list.replaceChildren(...fresh);
  news.replaceChildren();
  waiting = null;
  close();
}

/** Renew the rows that stand where they stand; leave new ones and a new order for later. */
function renewInPlace(fresh) {
  const standing = new Map(rows().map((row) => [row.dataset.key, row]));
  for (const [place, row] of fresh.entries()) {
    const old = standing.get(row.dataset.key);
    if (!old || old === row || old.contains(document.activeElement)) continue;
    if (row.querySelectorAll('.loop').length !== old.querySelectorAll('.loop').length) continue;
    const copy = row.cloneNode(true);
    old.replaceWith(copy);
    fresh[place] = copy;
  }
  waiting = fresh;
  announce();
}

function announce() {
  const standing = new Set(seqs(rows()));
  const count = seqs(waiting).filter((seq) => !standing.has(seq)).length;
  if (!count || news.querySelector('button')?.dataset.count === String(count)) return;
  const button = document.createElement('button');
  button.textContent = count === 1 ? '1 new loop: show it' : `${count} new loops: show them`;
  button.dataset.count = String(count);
  button.addEventListener('click', () => {
    reorder(waiting);
    scrollTo({ top: 0 });
  });
  news.replaceChildren(button);
}

/** Learn what has changed of the rows on the page, and fetch only that. */
async function refresh() {
  const until = after ? rows().at(-1)?.dataset.cursor : '';
  const part = await ask({ rows: 'none', ...(until ? { until } : after ? {} : { until: '1-0' }) });
  const standing = new Map(rows().map((row) => [row.dataset.key, row]));
  for (const row of waiting ?? []) standing.set(row.dataset.key, row);
  const isKnown = ({ key, digest }) => standing.get(key)?.dataset.digest === digest;
  const wanted = part.studies.filter((study) => !isKnown(study)).map((study) => study.key);
  const fetched = new Map();
  while (wanted.length) {
    const { studies } = await ask({ keys: wanted.splice(0, KEYS).join(',') });
    for (const study of studies) fetched.set(study.key, element(study.html));
  }
  const fresh = part.studies.map(({ key }) => fetched.get(key) ?? standing.get(key));
  describe(part);
  after = part.after;
  version = part.version;
  if (busy()) renewInPlace(fresh.filter(Boolean));
  else reorder(fresh.filter(Boolean));
}

/** @param {number} heard the box's version */
async function hear(heard) {
  if (heard === version) {
    if (waiting && !busy()) reorder(waiting);
    return;
  }
  again = true;
  if (refreshing) return;
  refreshing = true;
  while (again) {
    again = false;
    await refresh().catch((problem) => (link.textContent = problem.message));
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
  refreshing = false;
}

/** @param {import('./events.js').Link} state */
function tell(state, since) {
  const time = since.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  const cut = `since ${time}. The list is as it was then; it goes on by itself.`;
  link.textContent = {
    live: '',
    asking: '',
    away: `▲ The box does not answer ${cut}`,
    offline: `▲ This tablet has no network ${cut}`,
  }[state];
  document.body.dataset.link = state;
}

/** Begin the list anew, as the filter or the search wants it. */
async function restart() {
  for (const button of filters) {
    const chosen = button.dataset.show === show && !search.value.trim();
    button.setAttribute('aria-pressed', String(chosen));
  }
  try {
    const part = await ask({});
    describe(part);
    after = part.after;
    waiting = null;
    news.replaceChildren();
    list.replaceChildren(...part.studies.map((study) => element(study.html)));
    close();
    scrollTo({ top: 0 });
  } catch (problem) {
    link.textContent = problem.message;
  }
}

let loading = false;

async function loadMore() {
  const last = rows().at(-1);
  if (!after || loading || !last) return;
  loading = true;
  try {
    const part = await ask({ after: last.dataset.cursor });
    const standing = new Set(rows().map((row) => row.dataset.key));
    const fresh = part.studies.filter((study) => !standing.has(study.key));
    list.append(...fresh.map((study) => element(study.html)));
    after = part.after;
    close();
    if (waiting) await refresh(); // what waits knows nothing of these
  } catch {
    // The link's trouble is told already; the next scroll tries again.
  }
  loading = false;
}

for (const button of filters) {
  button.addEventListener('click', () => {
    show = button.dataset.show;
    search.value = '';
    history.replaceState(null, '', show === 'all' ? '/' : `/?show=${show}`);
    restart();
  });
}

let typing = 0;
search.addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(restart, TYPING_MS);
});

new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && loadMore(), {
  rootMargin: '1500px',
}).observe(document.getElementById('more'));
addEventListener('scroll', () => {
  const room = document.documentElement.scrollHeight - scrollY - innerHeight;
  if (room < 1500) loadMore();
}, { passive: true });

setInterval(() => waiting && !busy() && reorder(waiting), CALM_MS / 2);

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

close();
listen(hear, tell);
sendPending();
