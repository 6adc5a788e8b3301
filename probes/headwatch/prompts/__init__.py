"""Where prompt pairs come from: files, text and token ids, and the checks on the way."""
