// Package faults has no code but tests: of what the users of an app see, over
// HTTP, when the store of their sessions fails, and of what is in the store once
// it is back. It is a module of its own for the sake of its proxy.
package faults
