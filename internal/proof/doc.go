// Package proof contains only tests: those of what the packages promise together, with
// real servers and in separate processes. For example, a team changes the backend in one
// file and restarts; the same app runs, and its sessions outlive it.
package proof
