/** Hears from the box at once that something has changed; asks by itself where no stream holds. */

import { getJSON } from './api.js';

const ASK_MS = 2000;
const SILENT_MS = 35_000; // the box beats every ten seconds: by then the stream is dead
const AGAIN_MS = 15_000; // between two tries to open a stream that the box refuses

/**
 * @typedef {'live' | 'asking' | 'away' | 'offline'} Link
 *   heard by stream; asked for, no stream; the box doesn't answer; the tablet has no network
 */

/**
 * Listen for as long as the page is open. A hidden page holds no stream: the box has a thread for
 * each, and a browser six connections for all its tabs.
 * @param {(version: number) => void} hear called with each version, also one known already
 * @param {(link: Link, since: Date) => void} tell called when the link becomes another
 * @param {(part: object) => void} take called with what has changed, before the version it makes
 */
export function listen(hear, tell, take) {
  let link = 'live';
  let source = null;
  let opened = -AGAIN_MS;
  let heard = 0;
  let timer = 0;

  function become(now) {
    if (now === link) return;
    link = now;
    tell(now, new Date());
  }

  function close() {
    source?.close();
    source = null;
  }

  function open() {
    opened = heard = performance.now();
    source = new EventSource('/api/events');
    source.onmessage = ({ data }) => {
      heard = performance.now();
      become('live');
      hear(Number(data));
    };
    source.addEventListener('news', ({ data }) => take(JSON.parse(data)));
    source.onerror = () => {
      close();
      look();
    };
  }

  async function ask() {
    try {
      hear((await getJSON('/api/version')).version);
      const isBack = link === 'away' || link === 'offline';
      if (isBack || performance.now() - opened > AGAIN_MS) open();
      else become('asking');
    } catch (problem) {
      if (problem.status === 0) become(navigator.onLine ? 'away' : 'offline');
    }
  }

  async function look() {
    clearTimeout(timer);
    if (document.hidden) {
      close();
      return;
    }
    if (source && performance.now() - heard > SILENT_MS) close();
    if (!source) await ask();
    clearTimeout(timer);
    timer = setTimeout(look, ASK_MS);
  }

  document.addEventListener('visibilitychange', look);
  addEventListener('online', look);
  addEventListener('offline', () => {
    close();
    become('offline');
  });
  addEventListener('pagehide', close);
  open();
  timer = setTimeout(look, ASK_MS);
}
