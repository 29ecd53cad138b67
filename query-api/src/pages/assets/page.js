// What pages do beyond links and forms. Every page works without it.
// @ts-check
import { hovercard } from "./hovercard.js";
import { keys } from "./keys.js";
import { lanes } from "./lanes.js";
import { timeline } from "./timeline.js";

keys();
hovercard();
lanes();
timeline();
