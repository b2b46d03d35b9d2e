/** The first thing the viewer's page does: get the picture. The rest of the page comes meanwhile. */

import { frames, pause, persist } from './api.js';
import { t } from './language.js';
import { View } from './view.js';

const HEAD_START_MS = 500;

export const view = new View(JSON.parse(document.getElementById('state').textContent));

/** Why there is no picture, as sentences, "" when there is one or may be; told when that changes. */
export const pictures = {
  missing: view.state.urls.frames ? '' : t('The pictures of this loop can’t be read.'),
  onTell: () => {},
};

/** All frames, loaded again and again while the box can't be reached. */
export const loading = keepLoading();

/** The picture stands, or the rest of the page and of the loop has waited long enough for it. */
const patience = view.state.urls.frames && view.shown ? HEAD_START_MS : 0;
const begun = Promise.race([view.begun, loading, pause(patience)]);
begun.then(() => {
  document.head.append(document.getElementById('later').content);
  return import('./viewer.js');
});

/** The contours of what is shown; those of the first frame came with the page. */
export const contours = (view.state.first ? begun : Promise.resolve()).then(() => view.load());
contours.catch(() => {}); // told by whoever waits for them

async function loadFrames() {
  for await (const { index, blob } of frames(view.state.urls.frames)) {
    view.player.add(index, blob);
    // The rest of the loop waits a moment, so that the first picture doesn't.
    if (index === 0) await begun;
  }
  pictures.missing = '';
  document.body.dataset.loaded = 'true';
  pictures.onTell();
}

/** Say that there is no picture, and what is done about it; nothing can be decided meanwhile. */
function tellMissing(problem, hope) {
  const told = t('The pictures did not come: {why}', { why: problem.message });
  pictures.missing = `${told} ${hope}`;
  pictures.onTell();
}

async function keepLoading() {
  if (!view.state.urls.frames) return;
  try {
    await persist(loadFrames, (problem) => tellMissing(problem, t('Trying again.')));
  } catch (problem) {
    tellMissing(problem, '');
  }
}
