// What pages do beyond links and forms. Every page works without it.
// @ts-check
import { keys } from "./keys.js";
import { live } from "./live.js";
import { proof } from "./proof.js";
import { search } from "./search.js";

keys();
search();
live();
proof();
