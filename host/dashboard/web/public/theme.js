// Before the first paint, so that a dark room sees no flash of white. The page's policy allows no inline script.
(function () {
  try {
    var chosen = localStorage.getItem("belfry.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (e) {
    /* storage may be forbidden: the system's choice stands */
  }
})();
