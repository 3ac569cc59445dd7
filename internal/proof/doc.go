// Package proof has only tests: those of what the rooms promise together, on
// real servers and in processes of their own. A team points one file at a
// backend and restarts; the same app runs, and its sessions outlive it.
package proof
