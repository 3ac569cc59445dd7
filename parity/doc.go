// Package parity holds samesid against Express: the same scripted server in Go
// (goserver) and in Node (express), and the tests that run both. README.md has
// the protocol.
package parity
