// @ts-check
// Where the page begins.

import { start } from "./page.js";

start();
