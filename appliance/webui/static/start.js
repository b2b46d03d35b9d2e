/** The first thing the viewer's page does: get the picture. The rest of the page comes meanwhile. */

import { frames, pause, persist } from './api.js';
import { View } from './view.js';

const HEAD_START_MS = 300;

export const view = new View(JSON.parse(document.getElementById('state').textContent));

/** Why there is no picture, as sentences, "" when there is one or may be; told when that changes. */
export const pictures = {
  missing: view.state.urls.frames ? '' : 'The pictures of this loop can’t be read.',
  onTell: () => {},
};

/** All frames, loaded again and again while the box can't be reached. */
export const loading = keepLoading();

/** The contours of what is shown. */
export const contours = view.load();
contours.catch(() => {}); // told by whoever waits for them

async function loadFrames() {
  for await (const { index, blob } of frames(view.state.urls.frames)) {
    view.player.add(index, blob);
    // The rest of the loop waits a moment, so that the first picture doesn't.
    if (index === 0) await Promise.race([view.begun, pause(HEAD_START_MS)]);
  }
  pictures.missing = '';
  document.body.dataset.loaded = 'true';
  pictures.onTell();
}

/** Say that there is no picture, and what is done about it; nothing can be decided meanwhile. */
function tellMissing(problem, hope) {
  pictures.missing = `The pictures did not come: ${problem.message} ${hope}`;
  pictures.onTell();
}

async function keepLoading() {
  if (!view.state.urls.frames) return;
  try {
    await persist(loadFrames, (problem) => tellMissing(problem, 'Trying again.'));
  } catch (problem) {
    tellMissing(problem, '');
  }
}
