// A form of the editing flow that waited through signing in opens again by itself; nothing is saved by that.
document.querySelector("form[data-resume]")?.requestSubmit();
