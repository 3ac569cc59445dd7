// Package faults contains only tests. They check what the users of an app see, over
// HTTP, when the store of their sessions fails, and what is in the store once it is
// back.
package faults
