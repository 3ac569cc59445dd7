// Package parity compares samesid with Express: its tests run the same scripted server
// in Go (goserver) and in Node (express). README.md documents the protocol.
package parity
