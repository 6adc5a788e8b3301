"use strict";
// Tokens as text that can be read and cannot act: spaces and control characters become signs, directions are neutral.

const SIGNS = { " ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍" };
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/gu;

/** A token, at most `most` characters of it. */
function showToken(token, most = 16) {
  const visible = token.replace(/[ \n\t\r]/g, (sign) => SIGNS[sign])
    .replace(UNSEEN, (sign) => `⟨${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  const letters = Array.from(visible);
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : visible || "∅";
}

/** A prompt's opening, for a list of prompts. */
function showPrompt(tokens, most = 60) {
  const apart = tokens.some((token) => /\s/.test(token)) ? "" : " "; // whole words as tokens bring no spaces
  const text = tokens.join(apart).replace(UNSEEN, "").replace(/\s+/g, " ").trim();
  const letters = Array.from(text);
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text || "(empty prompt)";
}

/** The indices at which two prompts differ. */
function differing(clean, corrupted) {
  return clean.map((token, i) => (token === corrupted[i] ? -1 : i)).filter((i) => i >= 0);
}
