
// Before the first paint, so that a dark page never flashes white.
let theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
try { theme = localStorage.getItem("affjax-theme") || theme; } catch {}
document.documentElement.dataset.theme = theme;
