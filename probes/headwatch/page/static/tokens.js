// @ts-check
// Tokens as text that can be read and cannot act: spaces and control characters become signs, directions are neutral.

/** @type {Record<string, string>} */
const SIGNS = { " ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍" };
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/gu;

/** A token, at most `most` characters of it. @type {(token: string, most?: number) => string} */
export function showToken(token, most = 16) {
  const visible = token.replace(/[ \n\t\r]/g, (sign) => SIGNS[sign]).replace(UNSEEN, codeOf);
  return shortened(visible, most) || "∅";
}

/** @type {(sign: string) => string} */
function codeOf(sign) {
  const code = (sign.codePointAt(0) ?? 0).toString(16).toUpperCase();
  return `⟨${code.padStart(4, "0")}⟩`;
}

/** A prompt's opening, for a list of prompts. @type {(tokens: string[], most?: number) => string} */
export function showPrompt(tokens, most = 60) {
  const apart = tokens.some((token) => /\s/.test(token)) ? "" : " "; // whole words as tokens bring no spaces
  const text = tokens.join(apart).replace(UNSEEN, "").replace(/\s+/g, " ").trim();
  return shortened(text, most) || "(empty prompt)";
}

/** @type {(text: string, most: number) => string} */
function shortened(text, most) {
  const letters = Array.from(text);
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
}

/** The indices at which two prompts differ. @type {(clean: string[], corrupted: string[]) => number[]} */
export function differing(clean, corrupted) {
  return [...clean.keys()].filter((i) => clean[i] !== corrupted[i]);
}
