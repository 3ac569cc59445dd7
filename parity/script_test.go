package parity

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/samesid/samesid/internal/leaktest"
)

// script is a sequence of steps, of which both sides must have the same outcomes.
type script []step

// step is one request, and what happens before it. A failing script is printed as JSON.
type step struct {
	Client string `json:",omitempty"` // each client has its own cookie jar
	Path   string `json:",omitempty"` // the path before /run
	Proto  string `json:",omitempty"` // X-Forwarded-Proto
	Forge  string `json:",omitempty"` // the name of one of forgeries

	Clear  bool    `json:",omitempty"` // first empty the store
	Age    float64 `json:",omitempty"` // first set each record's time left, in seconds
	Record string  `json:",omitempty"` // first replace each record

	// Meanwhile makes the next steps run while this one holds. Its operations must
	// include the hold.
	Meanwhile bool `json:",omitempty"`

	Ops []op `json:",omitempty"`
}

// op is an operation and its arguments.
type op = []any

// did reports whether the step has the operation.
func (s step) did(name string) bool {
	return slices.ContainsFunc(s.Ops, func(o op) bool { return o[0] == name })
}

// run returns a step with these operations.
func run(ops ...op) step { return step{Ops: ops} }

// The operations of scripts that are written by hand.
var (
	del        = func(key string) op { return op{"delete", key} }
	get        = func(key string) op { return op{"get", key} }
	set        = func(key string, value any) op { return op{"set", key, value} }
	setMaxAge  = func(ms any) op { return op{"setMaxAge", ms} }
	sleep      = func(ms int) op { return op{"sleep", ms} }
	keys       = op{"keys"}
	id         = op{"id"}
	regenerate = op{"regenerate"}
	destroy    = op{"destroy"}
	save       = op{"save"}
	reload     = op{"reload"}
	touch      = op{"touch"}
	unset      = op{"unset"}
	maxAge     = op{"maxAge"}
	original   = op{"originalMaxAge"}
	flush      = op{"flush"}
	hold       = op{"hold"}
)

// outcome is one side's outcome of a step.
type outcome struct {
	status  int
	sid     any
	results []any
	cookie  *setCookie // nil if none was set
	vary    string
	caching string
	// hostOnly says that the cookie without a Domain is cleared too.
	hostOnly string
	stored   map[string]any    // the data of each session
	records  map[string]record // their records on the store's server
}

// String returns the outcome as hand-written cases expect it: the status, whether a
// cookie was set or cleared, and the number of sessions afterwards.
func (o outcome) String() string {
	cookie := "-"
	switch {
	case o.cookie == nil:
	case o.cookie.cleared():
		cookie = "clear"
	default:
		cookie = "cookie"
	}
	return fmt.Sprint(o.status, " ", cookie, " ", len(o.stored))
}

// setCookie is a Set-Cookie header.
type setCookie struct {
	id    string
	value string
	form  string // what is wrong with the value, or wellFormed
	attrs map[string]string
	at    time.Time // when it was received
}

const (
	wellFormed = "signed by the first secret"
	notEncoded = wellFormed + ", and not encoded" // as Fastify sends it
)

// cleared reports whether the cookie tells the browser to delete it.
func (c *setCookie) cleared() bool {
	expires, err := http.ParseTime(c.attrs["Expires"])
	// A cookie that is merely about to expire does not count.
	return err == nil && expires.Before(c.at.Add(-2*time.Second))
}

// expiresIn returns how long the cookie lasts according to its Expires.
func (c *setCookie) expiresIn() (time.Duration, bool) {
	expires, err := http.ParseTime(c.attrs["Expires"])
	return expires.Sub(c.at), err == nil
}

// valueForm matches a value as encodeURIComponent encodes it, which escapes two
// characters of base64. It is independent of samesid's code.
var valueForm = regexp.MustCompile(`^s%3A([A-Za-z0-9_-]{32})\.((?:[A-Za-z0-9]|%2B|%2F)+)$`)

func parseSetCookie(header string, o *options) (*setCookie, error) {
	pair, rest, _ := strings.Cut(header, "; ")
	name, value, _ := strings.Cut(pair, "=")
	if name != o.Name {
		return nil, fmt.Errorf("the cookie's name is %q", name)
	}
	c := &setCookie{value: value, attrs: map[string]string{}, at: time.Now()}
	for attr := range strings.SplitSeq(rest, "; ") {
		k, v, _ := strings.Cut(attr, "=")
		if _, twice := c.attrs[k]; twice {
			return nil, fmt.Errorf("%s is there twice: %s", k, header)
		}
		c.attrs[k] = v
	}
	leaktest.Note(value)
	form := wellFormed
	if plain, ok := strings.CutPrefix(value, "s:"); ok {
		form, value = notEncoded, url.QueryEscape("s:"+plain)
	}
	m := valueForm.FindStringSubmatch(value)
	switch {
	case value == "":
		c.form = "empty"
	case m == nil:
		c.form = "not as encodeURIComponent writes a signed id: " + value
	default:
		c.id = m[1]
		c.form = "badly signed: " + value
		if signature := strings.NewReplacer("%2B", "+", "%2F", "/").Replace(m[2]); signature == sign(c.id, o.secrets()[0]) {
			c.form = form
		}
	}
	return c, nil
}

func sign(id, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id))
	return strings.TrimRight(base64.StdEncoding.EncodeToString(mac.Sum(nil)), "=")
}

// forgeries make a forged Cookie header from a client's valid one.
var forgeries = map[string]func(o *options, name, id string) []string{
	"none":           func(*options, string, string) []string { return nil },
	"empty":          func(_ *options, name, _ string) []string { return []string{name + "="} },
	"unsigned":       func(_ *options, name, id string) []string { return []string{name + "=" + id} },
	"no prefix":      one(func(id, sig string) string { return id + "." + sig }),
	"no signature":   one(func(id, _ string) string { return "s:" + id }),
	"empty id":       one(func(_, sig string) string { return "s:." + sig }),
	"truncated":      one(func(id, sig string) string { return "s:" + id + "." + sig[:len(sig)-1] }),
	"padded":         one(func(id, sig string) string { return "s:" + id + "." + sig + "=" }),
	"other id":       one(func(id, sig string) string { return "s:" + strings.Repeat("A", len(id)) + "." + sig }),
	"other case":     one(func(id, sig string) string { return "s:" + id + "." + strings.ToUpper(sig) }),
	"url alphabet":   one(func(id, sig string) string { return "s:" + id + "." + urlAlphabet(sig) }),
	"two signatures": one(func(id, sig string) string { return "s:" + id + "." + sig + "." + sig }),
	"other secret":   one(func(id, _ string) string { return "s:" + id + "." + sign(id, "not one of them") }),
	"last secret": func(o *options, name, id string) []string {
		return []string{name + "=" + url.QueryEscape("s:"+id+"."+sign(id, o.secrets()[len(o.secrets())-1]))}
	},
	"unknown id": func(o *options, name, _ string) []string {
		unknown := "unknown-unknown-unknown-unknown-"
		return []string{name + "=" + url.QueryEscape("s:"+unknown+"."+sign(unknown, o.secrets()[0]))}
	},
	"not encoded": func(o *options, name, id string) []string { return []string{name + "=" + signed(o, id)} },
	"quoted":      func(o *options, name, id string) []string { return []string{name + `="` + escaped(o, id) + `"`} },
	"spaces": func(o *options, name, id string) []string {
		return []string{"a=b;  " + name + " = " + escaped(o, id) + " "}
	},
	"bad escape": func(o *options, name, id string) []string { return []string{name + "=%E0%A4%A" + escaped(o, id)} },
	"among others": func(o *options, name, id string) []string {
		return []string{"a=b; x" + name + "=1; " + name + "=" + escaped(o, id) + "; c"}
	},
	"bad one first": func(o *options, name, id string) []string {
		return []string{name + "=bad; " + name + "=" + escaped(o, id)}
	},
	"good one first": func(o *options, name, id string) []string {
		return []string{name + "=" + escaped(o, id) + "; " + name + "=bad"}
	},
	"second header": func(o *options, name, id string) []string { return []string{"a=b", name + "=" + escaped(o, id)} },
	"other name case": func(o *options, name, id string) []string {
		return []string{strings.ToUpper(name) + "=" + escaped(o, id)}
	},
}

// urlAlphabet returns a signature in base64url. It alters one that would be unchanged.
func urlAlphabet(sig string) string {
	if other := strings.NewReplacer("+", "-", "/", "_").Replace(sig); other != sig {
		return other
	}
	return "-" + sig[1:]
}

func signed(o *options, id string) string { return "s:" + id + "." + sign(id, o.secrets()[0]) }

func escaped(o *options, id string) string { return url.QueryEscape(signed(o, id)) }

func one(forge func(id, sig string) string) func(*options, string, string) []string {
	return func(o *options, name, id string) []string {
		return []string{name + "=" + url.QueryEscape(forge(id, sign(id, o.secrets()[0])))}
	}
}

// runner runs a script on one side.
type runner struct {
	*server
	options  *options
	records  records
	jar      map[string]string // client → the id in its cookie
	names    map[string]string // id → its name, by order of appearance
	outcomes []outcome
	slow     []func() error // each waits for the end of a request that overlaps later steps
}

func (p *pair) runner(s side, sc script) *runner {
	return &runner{
		server: p.servers[s], options: &p.options, records: p.places[s].records,
		jar: map[string]string{}, names: map[string]string{}, outcomes: make([]outcome, len(sc)),
	}
}

// do runs one step. It returns the error of a request or of reading the store, which is
// not a difference between the sides.
func (r *runner) do(i int, st step) error {
	if err := r.prepare(st); err != nil {
		return err
	}
	cookie := r.cookie(st)
	if !st.Meanwhile {
		out, err := r.send(st, cookie)
		if err != nil {
			return err
		}
		r.outcomes[i], err = r.observe(st, out)
		return err
	}
	answered := make(chan error, 1)
	go func() {
		var err error
		r.outcomes[i], err = r.send(st, cookie)
		answered <- err
	}()
	r.slow = append(r.slow, func() error {
		err := <-answered
		if err == nil {
			r.outcomes[i], err = r.observe(st, r.outcomes[i])
		}
		return err
	})
	return r.held()
}

// held waits until a request holds: then it has loaded its session.
func (r *runner) held() error { return r.call(http.MethodGet, "/held", nil) }

// release lets the request that holds continue.
func (r *runner) release() error { return r.post("/release", "") }

// finish releases the slow request, and waits for it.
func (r *runner) finish() error {
	for _, wait := range r.slow {
		if err := r.release(); err != nil {
			return err
		}
		if err := wait(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) clear() error { return r.post("/store/clear", "") }

func (r *runner) post(path, body string) error {
	return r.request(http.MethodPost, path, body, nil)
}

func (r *runner) call(method, path string, into any) error { return r.request(method, path, "", into) }

// request sends a request that is not one of the session layer.
func (r *runner) request(method, path, send string, into any) error {
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(send))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain")
	resp, err := steady.Do(req)
	if err != nil {
		return r.died(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s: %s: %s", r.side, method, path, resp.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// client never reuses a connection: if Express fails after it has answered, it closes
// the connection under the next request.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

// steady is for requests outside the session layer, which don't fail so.
var steady = &http.Client{Timeout: time.Minute}

func (r *runner) prepare(st step) error {
	var err error
	switch {
	case st.Clear:
		err = r.clear()
	case st.Age != 0 && r.records != nil:
		err = r.records.age(time.Duration(st.Age * float64(time.Second)))
	case st.Record != "":
		err = r.records.replace(st.Record)
	}
	return err
}

// cookie returns the Cookie header that the step's client sends.
func (r *runner) cookie(st step) []string {
	id := r.jar[st.Client]
	switch {
	case st.Forge != "" && (id != "" || st.Forge == "unknown id"):
		return forgeries[st.Forge](r.options, r.options.Name, id)
	case id == "":
		return nil
	}
	return []string{r.options.Name + "=" + escaped(r.options, id)}
}

// send sends the step's request and reads the answer.
func (r *runner) send(st step, cookie []string) (outcome, error) {
	resp, err := r.begin(st, cookie)
	if err != nil {
		return outcome{}, err
	}
	return r.read(resp)
}

// begin sends the step's request and waits for the header of the answer.
func (r *runner) begin(st step, cookie []string) (*http.Response, error) {
	ops := st.Ops
	if ops == nil {
		ops = []op{}
	}
	b, err := json.Marshal(map[string]any{"ops": ops})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, r.url+st.Path+"/run", strings.NewReader(string(b)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["Cookie"] = cookie
	if st.Proto != "" {
		req.Header.Set("X-Forwarded-Proto", st.Proto)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, r.died(err)
	}
	return resp, nil
}

// read reads the answer to its end.
func (r *runner) read(resp *http.Response) (outcome, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{
		status: resp.StatusCode, vary: resp.Header.Get("Vary"), caching: resp.Header.Get("Cache-Control"),
	}
	headers := resp.Header["Set-Cookie"]
	if n := len(headers); n == 2 && clearsHostOnly(headers[1], r.options.Name) {
		out.hostOnly, headers = "cleared", headers[:1]
	}
	switch len(headers) {
	case 0:
	case 1:
		if out.cookie, err = parseSetCookie(headers[0], r.options); err != nil {
			return out, err
		}
	default:
		return out, fmt.Errorf("%d Set-Cookie headers", len(headers))
	}
	if out.status == http.StatusOK {
		var parsed struct {
			SID     any
			Results []any
		}
		if err := json.Unmarshal(body, &parsed); err != nil {
			return out, fmt.Errorf("%w: %s", err, body)
		}
		out.sid, out.results = parsed.SID, parsed.Results
	}
	return out, nil
}

// clearsHostOnly reports whether a Set-Cookie header makes a browser forget the cookie that was
// set without a Domain.
func clearsHostOnly(header, name string) bool {
	c, err := http.ParseSetCookie(header)
	return err == nil && c.Name == name && c.MaxAge < 0 && c.Domain == ""
}

// observe adds the content of the store to an outcome, keeps the cookie, and replaces
// ids by their names.
func (r *runner) observe(st step, out outcome) (outcome, error) {
	if c := out.cookie; c != nil {
		switch {
		case !c.cleared():
			r.jar[st.Client] = c.id
		case st.Forge == "": // a forged cookie is not in the jar
			delete(r.jar, st.Client)
		}
		c.id = r.name(c.id)
	}
	var listing struct {
		Count    int
		Sessions map[string]any
	}
	if err := r.call(http.MethodGet, "/store", &listing); err != nil {
		return out, err
	}
	if listing.Count != len(listing.Sessions) {
		return out, fmt.Errorf("%s counts %d sessions and lists %d", r.side, listing.Count, len(listing.Sessions))
	}
	out.stored, out.records = map[string]any{}, map[string]record{}
	ids := slices.SortedFunc(maps.Keys(listing.Sessions), func(a, b string) int {
		return cmp.Compare(text(listing.Sessions[a]), text(listing.Sessions[b]))
	})
	for _, id := range ids {
		name := r.name(id)
		out.stored[name] = listing.Sessions[id]
		if r.records != nil {
			rec, err := readRecord(r.records, id)
			if err != nil {
				return out, err
			}
			out.records[name] = rec
		}
	}
	out.sid = r.named(out.sid)
	for i, result := range out.results {
		if st.Ops[i][0] == "id" {
			out.results[i] = r.named(result)
		}
		if m, ok := result.(map[string]any); ok && m["error"] != nil && len(m) == 1 {
			out.results[i] = "error" // the texts differ
		}
	}
	return out, nil
}

func (r *runner) name(id string) string {
	if id == "" {
		return ""
	}
	if r.names[id] == "" {
		r.names[id] = "session " + strconv.Itoa(len(r.names)+1)
	}
	return r.names[id]
}

// named returns the name of an id that was seen in a cookie or in the store.
func (r *runner) named(id any) any {
	s, ok := id.(string)
	if !ok {
		return id
	}
	return cmp.Or(r.names[s], "a session not stored")
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// compare runs a script on both sides, step by step, so that they stay in sync. It
// returns both sides' outcomes, and the differences.
func (p *pair) compare(sc script) (map[side][]outcome, []difference, error) {
	runners := map[side]*runner{node: p.runner(node, sc), gos: p.runner(gos, sc)}
	err := both(runners, (*runner).clear)
	for i, st := range sc {
		if err == nil {
			err = both(runners, func(r *runner) error { return r.do(i, st) })
		}
	}
	if err == nil {
		err = both(runners, (*runner).finish)
	}
	if err != nil {
		return nil, nil, err
	}
	all := map[side][]outcome{node: runners[node].outcomes, gos: runners[gos].outcomes}
	var found []difference
	for i, st := range sc {
		c := comparison{pair: p, at: i, step: st, node: all[node][i], gos: all[gos][i]}
		c.compare()
		found = append(found, c.found...)
	}
	return all, found, nil
}

// both calls do for both sides concurrently.
func both(runners map[side]*runner, do func(*runner) error) error {
	errs := make(chan error)
	for s, r := range runners {
		go func() {
			err := do(r)
			if err != nil {
				err = fmt.Errorf("%s: %w", s, err)
			}
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs)
}
