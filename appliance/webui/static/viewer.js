/** The viewer's page: loads a loop, listens to fingers and keys, and sends the decision. */

import { getJSON, go, mind, pause, persist } from './api.js';
import { Label, Whose, primary } from './asking.js';
import { Correction } from './correction.js';
import * as drafts from './drafts.js';
import * as keys from './keys.js';
import { t } from './language.js';
import { isLocked } from './lock.js';
import { Looking } from './looking.js';
import { make } from './panel.js';
import * as pending from './pending.js';
import * as pointer from './pointer.js';
import { contours, loading, pictures, view } from './start.js';

const POLL_MS = 1000;
const SOON_MS = 100; // somebody waits for the first outlines
const GUARD_MS = 500; // the second half of a double tap must not accept the next loop

const byId = (id) => document.getElementById(id);
const opened = performance.now();

const { player } = view;
const correction = new Correction(view, tellActions, mayCorrect, complain);
const label = new Label(view, sayView);
const whose = new Whose(view, sayView);
const looking = new Looking(view);
let sending = false;
let version = view.state.version;

view.onFrame = () => {
  correction.tell();
  if (isReady() && byId('reject').disabled) tellActions();
};
view.onShow = tellActions;
view.onUndo = () => (view.state.retractable ? ask({ back: true }) : decide('undone'));
pictures.onTell = tellActions;

function say(text, tone = '') {
  byId('said').textContent = text;
  byId('said').className = `said ${tone}`;
}

function complain(sentence) {
  byId('problem').textContent = sentence;
  byId('problem').hidden = !sentence;
}

function isReady() {
  return document.body.dataset.ready === 'true';
}

/**
 * Nobody decides on what has not come, or while a decision is on its way. Contours that are hidden
 * are shown by the first tap on Accept.
 */
function mayDecide() {
  const { state } = view;
  const standing = Boolean(state.analysis?.sha256) && !state.superseded;
  return standing && isReady() && view.visible && !pictures.missing && !sending;
}

function mayCorrect() {
  return mayDecide() && !view.state.blocked;
}

/** Why nothing can be accepted here, with the way to the newer loop where there is one. */
function tellHindered() {
  const { blocked, newer, analysis } = view.state;
  const told = [blocked, analysis && pictures.missing].filter(Boolean).join(' ');
  if (byId('blocked').textContent !== told) {
    byId('blocked').replaceChildren(newer ? make('a', { href: newer, textContent: told }) : told);
  }
  byId('blocked').hidden = !told;
}

/** Words and buttons of the decision, as they stand now. */
function tellActions() {
  const { state } = view;
  const editing = Boolean(view.editor);
  if (editing && looking.measuring) looking.toggleRuler(); // one thing at a time under a finger
  const [words, done] = primary(view, correction.changed);
  byId('accept').textContent = words;
  byId('accept').disabled = done || !mayCorrect();
  byId('correct').disabled = !mayCorrect();
  byId('reject').disabled = !mayDecide();
  byId('unsure').disabled = !mayDecide() || !state.askable;
  byId('deciding').hidden = editing;
  byId('correcting').hidden = !editing;
  tellHindered();
  correction.tell();
  label.tell();
  whose.tell();
  looking.tell();
  if (sending) return; // what becomes of it is said there
  if (correction.changed) say(`● ${t('not saved yet')}`, 'attention');
  else if (state.newer) say(''); // said where the way to it is
  else say(`${state.status.sign} ${state.status.word}`, state.status.tone);
}

/**
 * Decide on what is shown.
 * @param {string} decision accepted, corrected, rejected or undone
 * @param {object} [more]
 */
function decide(decision, more = {}) {
  const { state } = view;
  if (sending || !state.analysis?.sha256) return;
  const body = {
    decision,
    analysis_sha256: state.analysis.sha256,
    patient: state.patient.key, // what waits on the tablet names nobody
    newest_review: state.newest_review,
    view: state.view?.view ?? '',
    seconds: Math.round(performance.now() / 1000), // that this page was open
    ...more,
  };
  send('reviews', body);
}

/** Keep it on the tablet, and bring it to the box. */
function send(path, body) {
  if (isLocked()) return;
  const { reviewer } = document.body.dataset;
  const decided = { seq: view.state.seq, reviewer, path, body: { ...body, key: newKey() } };
  pending.keep(decided);
  deliver(decided);
}

/**
 * Send a decision, or a question, until the box has answered; nothing can be changed meanwhile.
 * @param {import('./pending.js').Pending} decided
 * @param {boolean} [stay] don't go on to the next loop: it was decided on an earlier visit
 */
async function deliver(decided, stay = false) {
  sending = true;
  correction.decided();
  complain('');
  say(`● ${t('being sent')}`, 'attention');
  tellActions();
  try {
    const unsent = () => say(`● ${t('kept here, not yet on the box')}`, 'attention');
    const answer = await persist(() => pending.send(decided), unsent);
    if (decided.body.decision === 'undone' || decided.body.back) return await settle('');
    say(answer.said, 'good');
    if (decided.body.decision) drafts.store(decided.body.analysis_sha256, null);
    if (stay) {
      if (decided.body.decision) correction.taken();
      await settle('');
      return await view.show(view.latest);
    }
    document.body.dataset.decided = decided.body.decision ?? 'unsure';
    go(answer.next, true);
  } catch (problem) {
    await settle(problem.message, decided.body.newest_review);
  }
}

/** Go on after an answer that leaves this loop open; a review after `seen` is what it met with. */
async function settle(sentence, seen = view.state.newest_review) {
  complain(sentence);
  try {
    await persist(refresh);
  } finally {
    sending = false;
    tellActions();
  }
  if (!sentence) return;
  const told = view.state.newest_review === seen ? sentence : meanwhile(view.state);
  complain(correction.changed ? `${told} ${t('Your correction is kept.')}` : told);
  if (told !== sentence && isReady()) hold();
}

/** @returns {string} who has decided, how, and where in the picture that is seen */
function meanwhile({ status }) {
  return t('Decided meanwhile: {word}.', status) + (view.editor ? ` ${t('Theirs is the dashed line.')}` : '');
}

/**
 * Wait until the box has taken another view, and show the loop as it then stands.
 * @param {Promise<any>} sent
 */
async function sayView(sent) {
  complain('');
  try {
    await sent;
    await refresh();
  } catch (problem) {
    await settle(problem.message);
  }
}

/** Lay the loop before an expert and go on. */
function unsure() {
  if (!byId('unsure').disabled) ask({});
}

/** @param {{back?: boolean}} more whether the question is taken back */
function ask(more) {
  const { analysis, newest_review } = view.state;
  if (!sending) send('expert', { analysis_sha256: analysis.sha256, newest_review, ...more });
}

/** crypto.randomUUID needs a secure context, which http to another machine is not. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function accept() {
  if (byId('accept').disabled) return;
  if (view.hidden) {
    toggleHidden();
    return void hold();
  }
  if (correction.changed) correction.save(decide);
  else decide('accepted', view.shown?.review ? { base_review: view.shown.review } : {});
}

function goTo(mark) {
  const frame = { ...view.shown?.marks, ...view.editor?.marks }[mark];
  if (frame !== undefined) player.seek(frame);
}

function toggleHidden() {
  view.hide(!view.hidden);
  tellActions();
}

function toggleModel() {
  if (view.editor) correction.toggleModelLine();
  else if (view.shown) view.show(view.shown.id === 'model' ? view.latest : 'model');
}

/** One pair of hands: the ruler's while it is out, else the correction's; any of them zooms. */
const hands = {
  grab: (x, y, reach) => {
    if (looking.measuring) looking.measureFrom(x, y);
    else if (!correction.drawing) return false;
    else return correction.grab(x, y, reach);
    return true;
  },
  drag: (x, y) => (looking.measuring ? looking.measureTo(x, y) : correction.drag(x, y)),
  drop: () => looking.measuring || correction.drop(),
  cancel: () => looking.measuring || correction.cancel(),
  hover: (x, y) => correction.hover(x, y),
  tap: () => view.editor || player.toggle(),
};

/**
 * By key: the point that is held in Correct, else the zoomed image.
 * @param {number} x
 * @param {number} y
 */
function shift(x, y) {
  if (view.editor) correction.nudge(x, y);
  else looking.pan(-x, -y);
}

/** @param {1 | -1} way by key: the brush's size while it is out, else how strong contours are */
function more(way) {
  if (view.editor && correction.tool === 'brush') correction.resize(way);
  else looking.strengthen(way);
}

function visit(url) {
  if (url) go(url);
}

function wire() {
  const click = (id, action) => byId(id).addEventListener('click', action);
  click('play', () => player.toggle());
  click('speed', () => view.nextSpeed());
  click('accept', accept);
  click('correct', () => correction.begin());
  click('reject', () => byId('reject-dialog').showModal());
  click('unsure', unsure);
  click('compare', toggleModel);
  click('keep', () => byId('reject-dialog').close());
  click('hide', toggleHidden);
  click('help', () => byId('keys-dialog').showModal());
  click('close-keys', () => byId('keys-dialog').close());
  click('previous', () => visit(view.state.previous));
  click('next', () => visit(view.state.next));
  for (const button of document.querySelectorAll('[data-reason]')) {
    button.addEventListener('click', () => {
      byId('reject-dialog').close();
      decide('rejected', { reason: button.dataset.reason });
    });
  }
  pointer.listen(byId('overlay'), view.overlay, hands);
  keys.listen(keyboard(), isReady);
  mind(complain);
}

/** @returns {Record<string, () => void>} what each key does */
function keyboard() {
  const tools = [...document.querySelectorAll('[data-tool]')].map(({ dataset }) => dataset.tool);
  const choose = tools.map((tool, i) => [String(i + 1), () => view.editor && correction.choose(tool)]);
  return {
    ...Object.fromEntries(choose),
    ' ': () => player.toggle(),
    ArrowLeft: () => player.seek(player.frame - 1),
    ArrowRight: () => player.seek(player.frame + 1),
    ArrowUp: () => visit(view.state.previous),
    ArrowDown: () => visit(view.state.next),
    'Shift+ArrowLeft': () => shift(-1, 0),
    'Shift+ArrowRight': () => shift(1, 0),
    'Shift+ArrowUp': () => shift(0, -1),
    'Shift+ArrowDown': () => shift(0, 1),
    ',': () => correction.step(-1),
    '.': () => correction.step(1),
    '[': () => more(-1),
    ']': () => more(1),
    '+': () => looking.zoom(1),
    '=': () => looking.zoom(1),
    '-': () => looking.zoom(-1),
    0: () => looking.zoom(0),
    b: () => looking.toggleBeat(),
    o: () => looking.togglePanes(),
    r: () => view.editor || looking.toggleRuler(),
    v: () => byId('view').click(),
    d: () => goTo('ed'),
    s: () => goTo('es'),
    'Shift+d': () => correction.mark('ed'),
    'Shift+s': () => correction.mark('es'),
    a: accept,
    c: () => byId(view.editor ? 'back-out' : 'correct').click(),
    x: () => view.editor || byId('reject').click(),
    e: () => view.editor || unsure(),
    h: toggleHidden,
    m: toggleModel,
    n: () => correction.spread(),
    i: () => correction.between(),
    Backspace: () => correction.reset(),
    z: () => correction.undo(),
    'Shift+z': () => correction.redo(),
    l: () => byId('lock').click(),
    '?': () => byId('keys-dialog').showModal(),
  };
}

async function refresh() {
  const state = await getJSON(`/api/loops/${view.state.seq}`);
  const decided = state.newest_review !== view.state.newest_review;
  if (view.editor && state.analysis?.sha256 !== view.state.analysis?.sha256) {
    correction.leave();
    complain(t('The loop was analysed anew: look at the new contours first.'));
  } else if (decided && !sending) {
    complain(meanwhile(state));
    hold();
  }
  await view.renew(state);
  version = state.version;
  tellActions();
}

/** A finger already on its way must not decide on what has just changed under it. */
async function hold() {
  document.body.dataset.ready = 'false';
  tellActions();
  await pause(GUARD_MS);
  document.body.dataset.ready = 'true';
  tellActions();
}

async function poll() {
  for (;;) {
    const waiting = ['received', 'analysing'].includes(view.state.state) && !view.state.analysis;
    await pause(waiting ? SOON_MS : POLL_MS);
    if (sending) continue;
    try {
      const now = (await getJSON('/api/version')).version;
      if (now !== version && !sending) await refresh();
      tellActions();
    } catch (problem) {
      if (!sending) say(`● ${correction.changed ? `${t('not saved yet')}. ` : ''}${problem.message}`, 'attention');
    }
  }
}

async function start() {
  wire();
  tellActions();
  poll();
  await contours;
  await correction.restore();
  for (const item of pending.all().filter(({ seq }) => seq === view.state.seq)) {
    if (item.reviewer === document.body.dataset.reviewer) deliver(item, true);
    else complain(t('A decision of {reviewer} waits on this tablet.', item));
  }
  await Promise.race([player.begun, loading]);
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (!calm && !view.editor) player.play();
  await pause(Math.max(0, GUARD_MS - (performance.now() - opened)));
  document.body.dataset.ready = 'true';
  tellActions();
}

start().catch((problem) => complain(problem.message));
