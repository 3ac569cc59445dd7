package auth

import (
	"errors"
	"fmt"
	"net/http"
)

// bindingKey is the session's key for what the package devicebound notes.
const bindingKey = "auth_binding"

// ErrUnproven is the reason of a Refusal, when Options.Binding finds that a request does not
// prove that it comes from the session's browser: its cookie may be a copy. It wraps the
// Binding's own error.
var ErrUnproven = errors.New("auth: the request does not prove that it comes from the session's browser")

// A Binding ties sessions to browsers: see Options.Binding. Its methods run inside
// Manager.LoadAndSave, and must be safe for concurrent use.
type Binding interface {
	// Offer is called by Login once the session has begun, and before the answer. A login
	// route of the app's own calls it after SignIn.
	Offer(w http.ResponseWriter, r *http.Request)

	// Check is called by Restricted, and so by Fresh, for the request of a signed-in user.
	// An error refuses it, unless Check has answered the request itself.
	Check(w http.ResponseWriter, r *http.Request) (answered bool, err error)

	// End is called by Logout once the session has ended, and before the answer.
	End(w http.ResponseWriter, r *http.Request)
}

// proven reports whether the request of a signed-in user may go on. If not, it is answered.
func (a *core) proven(w http.ResponseWriter, r *http.Request) bool {
	if a.opts.Binding == nil {
		return true
	}
	answered, err := a.opts.Binding.Check(w, r)
	if err != nil && !answered {
		a.askForLogin(w, r, fmt.Errorf("%w: %w", ErrUnproven, err))
	}
	return err == nil && !answered
}
