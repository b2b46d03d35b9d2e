/** The worklist, kept current without moving what a finger is about to touch. */

import { getJSON, mind, pause, persist } from './api.js';
import * as drafts from './drafts.js';
import { listen } from './events.js';
import './importing.js';
import { n, t } from './language.js';
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
  const made = document.createElement('template');
  made.innerHTML = html;
  return made.content.firstElementChild;
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
  const staying = new Set(fresh);
  for (const row of rows()) if (!staying.has(row)) row.remove();
  for (const [place, row] of fresh.entries()) {
    row.classList.toggle('arrived', !standing.has(row.dataset.key));
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
  }
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
  button.textContent = n('1 new loop: show it', '{count} new loops: show them', count);
  button.dataset.count = count;
  button.addEventListener('click', () => {
    reorder(waiting);
    scrollTo({ top: 0 });
  });
  news.replaceChildren(button);
}

/** Learn what has changed of the rows on the page, and fetch only that. */
async function refresh() {
  const until = (after && rows().at(-1)?.dataset.cursor) || '2-0'; // the end
  const part = await ask({ rows: 'none', until });
  const standing = new Map(rows().map((row) => [row.dataset.key, row]));
  for (const row of waiting ?? []) standing.set(row.dataset.key, row);
  const unknown = ({ key, digest }) => standing.get(key)?.dataset.digest !== digest;
  const wanted = part.studies.filter(unknown).map(({ key }) => key);
  const fetched = new Map();
  while (wanted.length) {
    const { studies } = await ask({ keys: wanted.splice(0, KEYS).join(',') });
    for (const study of studies) fetched.set(study.key, element(study.html));
  }
  const fresh = part.studies.map(({ key }) => fetched.get(key) ?? standing.get(key));
  after = part.after;
  put(part, fresh.filter(Boolean));
}

/** @param {HTMLElement[]} fresh every row in the order shown */
function put(part, fresh) {
  describe(part);
  version = part.version;
  if (busy()) renewInPlace(fresh);
  else reorder(fresh);
}

/** What a row is sorted by, as the box sorts. */
function place({ dataset }) {
  const [seen, newest] = dataset.cursor.split('-').map(Number);
  return 1e15 * seen - newest;
}

/** Take what has changed as the box tells it; whoever can't, asks when the version comes. */
function take(part) {
  if (part.since !== version || refreshing || search.value.trim()) return;
  const changed = new Map(part.studies.map((study) => [study.key, study]));
  const known = waiting ?? rows();
  const fresh = known.filter((row) => !changed.has(row.dataset.key));
  const last = after ? Math.max(...known.map(place)) : Infinity;
  for (const { html, shows } of changed.values()) {
    const row = shows.includes(show) && element(html);
    if (row && place(row) <= last) fresh.push(row);
  }
  put(part, fresh.sort((a, b) => place(a) - place(b)));
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
    await pause(REFRESH_MS);
  }
  refreshing = false;
}

/** @param {import('./events.js').Link} state */
function tell(state, since) {
  const time = since.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  const away = t('The box does not answer since {time}: the list is of then.', { time });
  const offline = t('This tablet has no network since {time}: the list is of then.', { time });
  link.textContent = {
    live: '',
    asking: '',
    away: `▲ ${away}`,
    offline: `▲ ${offline}`,
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
    watchEnd();
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
    await pause(CALM_MS); // the link's trouble is told already
  }
  loading = false;
  watchEnd();
}

const end = document.getElementById('more');
const near = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && loadMore(), {
  rootMargin: '1500px',
});

/** Hear when the end of the list comes near, or that it is near already. */
function watchEnd() {
  near.unobserve(end);
  near.observe(end);
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

setInterval(() => waiting && !busy() && reorder(waiting), CALM_MS / 2);

function say(text, tone) {
  const said = document.getElementById('said');
  said.textContent = text;
  said.className = `said ${tone}`;
}

/** @param {number} [seq] of the loop it is about */
function complain(sentence, seq) {
  const problem = document.getElementById('problem');
  const line = document.createElement('p');
  line.textContent = sentence;
  problem.append(line);
  problem.hidden = false;
  if (!seq) return;
  const link = document.createElement('a');
  link.className = 'button';
  link.href = `/loop/${seq}`;
  link.textContent = t('Look at it');
  line.append(' ', link);
}

/** Send what was decided on this tablet while the box could not be reached. */
async function sendPending() {
  for (const item of pending.all()) {
    if (item.reviewer !== document.body.dataset.reviewer) {
      complain(t('A decision of {reviewer} waits on this tablet. Sign in as {reviewer} to send it.', item));
      continue;
    }
    say(`● ${t('a decision kept here, not yet on the box')}`, 'attention');
    try {
      const answer = await persist(() => pending.send(item));
      if (item.body.decision) drafts.store(item.body.analysis_sha256, null);
      say(answer.said, 'good');
    } catch (problem) {
      say('', '');
      complain(t('A decision made before was not taken: {why}', { why: problem.message }), item.seq);
    }
  }
}

close();
watchEnd();
listen(hear, tell, take);
mind((sentence) => say(sentence, 'attention'));
sendPending();
