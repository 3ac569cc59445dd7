// Package recipes has the code of docs/recipes.md, a file for each recipe. As it is copied
// from there, it uses the public API alone.
package recipes
