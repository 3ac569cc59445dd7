// Package wire turns what Express puts on the wire into Go values and back:
// the signature of a cookie (npm cookie-signature 1.0.7), the Cookie and
// Set-Cookie headers (npm cookie 0.7.2) and the JSON record of a session
// (npm express-session 1.19.0). It is bytes in, bytes out: no clock, no I/O.
//
// The vectors in testdata come from those npm packages.
package wire
