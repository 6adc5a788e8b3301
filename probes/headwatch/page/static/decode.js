"use strict";
// From the payload's base64 to typed arrays.

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The value of each of the 65,536 half-precision floats. */
const HALVES = (() => {
  const table = new Float32Array(1 << 16);
  for (let bits = 0; bits < 1 << 15; bits++) {
    const exponent = bits >> 10;
    const fraction = bits & 1023;
    const value = exponent === 31 ? (fraction ? NaN : Infinity)
      : exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    table[bits] = value;
    table[bits | 0x8000] = -value;
  }
  return table;
})();

/** One Float32Array per pass from {scale, data}. */
function decodeRows(packed, cells) {
  const bytes = fromBase64(packed.data);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    values[i] = HALVES[bytes[2 * i] | (bytes[2 * i + 1] << 8)] * packed.scale;
  }
  return Array.from({ length: values.length / cells }, (_, row) => values.subarray(row * cells, (row + 1) * cells));
}

/** The bytes of a deflated, base64-coded text. */
async function inflate(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
