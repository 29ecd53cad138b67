// What pages do beyond links and forms. Every page works without it.
// @ts-check
import { keys } from "./keys.js";

keys();
