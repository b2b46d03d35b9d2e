/** A stack viewer of one loop with its label maps, as Cornerstone3D's own examples build it. */

import * as core from '@cornerstonejs/core';
import * as loader from '@cornerstonejs/dicom-image-loader';
import * as tools from '@cornerstonejs/tools';

const { Enums, RenderingEngine, imageLoader } = core;
const { Enums: { SegmentationRepresentations }, segmentation } = tools;
const frames = Number(new URLSearchParams(location.search).get('frames'));

async function start() {
  await core.init();
  await loader.init({ maxWebWorkers: 2 });
  tools.init();
  const element = document.getElementById('viewport');
  const engine = new RenderingEngine('engine');
  engine.enableElement({ viewportId: 'loop', type: Enums.ViewportType.STACK, element });
  const viewport = engine.getViewport('loop');
  const url = `wadouri:${location.origin}/cine.dcm`;
  const ids = Array.from({ length: frames }, (_, i) => `${url}?frame=${i + 1}`);
  const masks = fetch('/masks.bin').then((answer) => answer.arrayBuffer());
  await imageLoader.loadAndCacheImage(ids[0]);
  await viewport.setStack(ids, 0);
  await segment(ids, new Uint8Array(await masks));
  const rendered = new Promise((resolve) =>
    element.addEventListener(Enums.Events.IMAGE_RENDERED, resolve, { once: true }));
  viewport.render();
  await rendered;
  document.body.dataset.firstMs = performance.now().toFixed(1);
  await Promise.all(ids.map((id) => imageLoader.loadAndCacheImage(id)));
  window.play = (rate, seconds) => shown(element, viewport, rate, seconds);
  document.body.dataset.ready = 'true';
}

async function segment(ids, values) {
  const maps = await imageLoader.createAndCacheDerivedLabelmapImages(ids);
  const size = values.length / ids.length;
  maps.forEach(({ voxelManager }, i) => {
    const data = voxelManager.getScalarData();
    data.set(values.subarray(i * size, (i + 1) * size));
    voxelManager.setScalarData?.(data);
  });
  const imageIds = maps.map(({ imageId }) => imageId);
  const representation = { type: SegmentationRepresentations.Labelmap, data: { imageIds } };
  segmentation.addSegmentations([{ segmentationId: 'hearts', representation }]);
  await segmentation.addLabelmapRepresentationToViewport('loop', [{ segmentationId: 'hearts' }]);
}

/** How many times another frame stood on the screen, a second. */
async function shown(element, viewport, rate, seconds) {
  let [count, last] = [0, -1];
  element.addEventListener(Enums.Events.IMAGE_RENDERED, () => {
    const frame = viewport.getCurrentImageIdIndex();
    count += frame === last ? 0 : 1;
    last = frame;
  });
  tools.utilities.cine.playClip(element, { framesPerSecond: rate, loop: true });
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  tools.utilities.cine.stopClip(element);
  return count / seconds;
}

start().catch((error) => {
  document.body.dataset.problem = String(error?.stack ?? error);
  document.body.dataset.ready = 'false';
});
