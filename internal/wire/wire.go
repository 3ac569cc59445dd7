// Package wire decodes and encodes Express's wire formats: the signature of a cookie
// (npm cookie-signature 1.0.7), the Cookie and Set-Cookie headers (npm cookie 0.7.2)
// and the JSON record of a session (npm express-session 1.19.0). It uses neither a
// clock nor I/O.
//
// The vectors in testdata come from those npm packages.
package wire
