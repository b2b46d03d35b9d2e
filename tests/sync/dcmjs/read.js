/** Says of a segmentation what dcmjs reads in it: `node read.js FILE`, JSON on stdout. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import dcmjs from "dcmjs";

const { BitArray, DicomMessage, DicomMetaDictionary } = dcmjs.data;
dcmjs.log?.setLevel?.("silent");

/** @param {Uint8Array} bytes */
const hashed = (bytes) => createHash("sha256").update(bytes).digest("hex");
/** @param {unknown} value a sequence; dcmjs gives one of a single item as the item */
const items = (value) => (Array.isArray(value) ? value : [value]);
const first = (value) => items(value)[0];

const file = readFileSync(process.argv[2]);
const read = DicomMessage.readFile(
  file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength),
);
const dataset = DicomMetaDictionary.naturalizeDataset(read.dict);
const meta = DicomMetaDictionary.naturalizeDataset(read.meta);
const size = dataset.Rows * dataset.Columns;
const pixels = new Uint8Array(first(dataset.PixelData));
// dcmjs gives 255 for a bit that is set.
const planes =
  dataset.SegmentationType === "BINARY" ? BitArray.unpack(pixels).map((bit) => bit & 1) : pixels;

const frames = items(dataset.PerFrameFunctionalGroupsSequence).map((group, place) => {
  const source = first(first(group.DerivationImageSequence).SourceImageSequence);
  const segment = group.SegmentIdentificationSequence;
  return {
    segment: segment ? first(segment).ReferencedSegmentNumber : null,
    source: source.ReferencedFrameNumber,
    pixels: hashed(Uint8Array.from(planes.subarray(place * size, (place + 1) * size))),
  };
});
const segments = items(dataset.SegmentSequence).map((segment) => ({
  number: segment.SegmentNumber,
  label: segment.SegmentLabel,
  tracking: segment.TrackingUID ?? null,
  colour: segment.RecommendedDisplayCIELabValue,
}));
process.stdout.write(
  JSON.stringify({
    SOPClassUID: dataset.SOPClassUID,
    TransferSyntaxUID: meta.TransferSyntaxUID,
    PatientID: dataset.PatientID,
    NumberOfFrames: Number(dataset.NumberOfFrames),
    frames,
    segments,
  }),
);
