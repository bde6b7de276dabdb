/** Light or dark: the system's choice unless the user made one. */

export type Choice = "system" | "light" | "dark";
const KEY = "belfry.theme";

class Theme {
  choice = $state<Choice>("system");
  #system = $state(false);
  readonly dark = $derived(this.choice === "dark" || (this.choice === "system" && this.#system));

  start(): void {
    const media = matchMedia("(prefers-color-scheme: dark)");
    this.#system = media.matches;
    media.addEventListener("change", (e) => (this.#system = e.matches));
    const kept = document.documentElement.dataset.theme;
    if (kept === "light" || kept === "dark") this.choice = kept;
  }

  set(choice: Choice): void {
    this.choice = choice;
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    try {
      if (choice === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      /* storage forbidden: it holds for this page */
    }
  }

  toggle(): void {
    this.set(this.dark ? "light" : "dark");
  }
}

export const theme = new Theme();
