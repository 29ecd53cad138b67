// What pages do beyond links and forms. Every page works without it.
// @ts-check
import { copy } from "./copy.js";
import { hovercard } from "./hovercard.js";
import { keys } from "./keys.js";
import { lanes } from "./lanes.js";
import { live } from "./live.js";
import { proof } from "./proof.js";
import { search } from "./search.js";
import { timeline } from "./timeline.js";
import { times } from "./times.js";

times();
copy();
keys();
search();
live();
proof();
hovercard();
lanes();
timeline();
