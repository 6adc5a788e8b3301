// @ts-check
// From the payload's base64 to typed arrays.

/** @import { Packed } from "./types.js" */

/** @type {(text: string) => Uint8Array<ArrayBuffer>} */
export function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The value of each of the 65,536 half-precision floats. */
const HALVES = new Float32Array(1 << 16);
for (let bits = 0; bits < 1 << 15; bits++) {
  HALVES[bits] = halfOf(bits >> 10, bits & 1023);
  HALVES[bits | 0x8000] = -HALVES[bits];
}

/** @type {(exponent: number, fraction: number) => number} */
function halfOf(exponent, fraction) {
  if (exponent === 31) return fraction ? Number.NaN : Number.POSITIVE_INFINITY;
  return exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
}

/** One array per pass. @type {(packed: Packed, cells: number) => Float32Array[]} */
export function decodeRows(packed, cells) {
  const bytes = fromBase64(packed.data);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    values[i] = HALVES[bytes[2 * i] | (bytes[2 * i + 1] << 8)] * packed.scale;
  }
  const rows = values.length / cells;
  return Array.from({ length: rows }, (_, row) => values.subarray(row * cells, (row + 1) * cells));
}

/** Whole numbers of two bytes each. @type {(text: string) => Uint16Array} */
export function countsOf(text) {
  const bytes = fromBase64(text);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => bytes[2 * i] | (bytes[2 * i + 1] << 8));
}

/**
 * One of many bits, the first the highest of its byte; false where there are none.
 * @type {(bits: Uint8Array | null, at: number) => boolean}
 */
export function isSet(bits, at) {
  return bits !== null && Boolean((bits[at >> 3] >> (7 - (at & 7))) & 1);
}

/** The bytes of a deflated, base64-coded text. @type {(text: string) => Promise<Uint8Array>} */
export async function inflate(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
