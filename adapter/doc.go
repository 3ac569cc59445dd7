// Package adapter gives each HTTP request its session. A [Manager] embeds scs's
// SessionManager, follows express-session's options, and can share its live sessions
// with an Express app: the same signed cookie, and the same record in the store.
//
//	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}})
//	if err != nil {
//		log.Fatal(err)
//	}
//	visits := func(w http.ResponseWriter, r *http.Request) {
//		n := sessions.GetInt(r.Context(), "visits") + 1
//		sessions.Put(r.Context(), "visits", n)
//		fmt.Fprintf(w, "visit %d", n)
//	}
//	handler := sessions.LoadAndSave(http.HandlerFunc(visits))
//
// A program that uses scs already calls [Wrap] in place of [New]. A struct is stored
// and read by the functions [Put] and [Get]. Code that is no http.Handler calls
// [Manager.Begin] and [Manager.End], and a job without a request [Manager.LoadID].
//
// # A request in six steps
//
//  1. LoadAndSave makes the session. A request outside Cookie.Path has one that is
//     never saved (middleware.go).
//  2. The cookie is found by its name and percent-decoded, and its signature is checked
//     against every secret. The result is a session id, or none (cookie.go).
//  3. One call of the store reads the record, and slides its expiry if the store can do
//     both at once. A store that fails ends the request: the handler does not run
//     (load.go: load, find).
//  4. The handler runs. scs holds the values (data.go), and nothing of the response is
//     buffered (writer.go).
//  5. Before the first byte of the response, the rules of express-session decide whether
//     the session is saved or touched, and whether a cookie is sent
//     (finish.go: finish).
//  6. A write is a compare-and-set. After a conflict, the changes of this request are
//     merged into what the store has now. If the session has ended, nothing is written
//     (write.go).
//
// A change after step 5 is lost, and is an error in the log, unless the handler calls
// [Manager.Save]. What a handler did before it panicked is not saved, but for what it
// saved or destroyed itself.
//
// # What comes from scs
//
// Put, Exists, Keys, Remove, Clear, GetString, GetBool, PopString, PopBool, RememberMe, Deadline
// and SetDeadline are scs's own. They work on the session in the context, and what they
// change is saved with it. They panic in a context without a session, as in scs.
//
// These have the name and meaning that they have in scs, and are this package's:
//
//   - LoadAndSave, Load, Commit and WriteSessionCookie know the signature. Load takes the
//     value of a cookie; LoadID takes an id, as scs's Load does.
//   - RenewToken, Destroy and MergeSession reach the store. RenewToken and MergeSession
//     take effect when the session is saved, so a failure leaves the old sessions.
//   - Iterate visits a request's own session as the request has it.
//   - Status and Token.
//   - Get, Pop, GetInt, GetInt32, GetInt64, GetFloat, GetBytes, GetTime, PopInt, PopFloat,
//     PopBytes and PopTime convert the types that JSON does not have.
//
// Call all of them on the Manager. The embedded SessionManager's own LoadAndSave, Load,
// Commit, RenewToken, Destroy, MergeSession and Iterate fail as soon as they reach the store.
//
// # Glossary
//
//   - Session: the values that belong to one browser, from request to request.
//   - Id: the random text in the cookie that names a session. It is a secret.
//   - Store key: the key that the store has a record under. It is the id, or a hash of it.
//   - Record: a session as the store has it. It holds the values, and what is kept
//     beside them, such as the cookie's attributes or the deadline.
//   - Version: one state of the values. A request knows three. Original is what it found,
//     and decides whether the session is modified. Base is what its changes are relative
//     to. Stored is what the store has.
//   - Three-way merge: the keys that a request has changed since base, their common
//     ancestor, are put over stored.
//   - Compare-and-set: a write that is done only if the store still has the bytes that
//     the writer has read.
//   - Move: one write that puts a record in the place of others. A new id, a merge and
//     the change to hashed store keys are moves, made at the end of the request.
//   - Touch, slide: to move a session's expiry without changing its record. Each use of a
//     session slides its expiry.
//   - Lasting cookie: a cookie that the browser keeps when it is closed. It has an expiry.
//   - New: the cookie of the request did not carry the session's id. Modified: the values
//     differ from original, or the id does. Saved: the store has the session as base has
//     it.
//   - Phase: what can still become of a session in a request. It is live, outside the
//     cookie's path, unset by the handler, or ended by someone else.
//   - Fail closed: when the store fails, the request does. It never goes on as if nobody
//     were signed in.
package adapter
