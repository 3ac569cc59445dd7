package parity

import (
	"maps"
	"slices"
	"strings"
)

const (
	minute  = `"cookie":{"maxAge":60000}`
	browser = `"cookie":{}`
)

// behaviours are the behaviours that express-session tests itself or documents, by
// option.
var behaviours = []behaviour{
	// The session itself.
	{
		option: "session", name: "a new one is stored and its cookie set", config: minute,
		script: script{run(set("active", true), get("active"), keys, id)},
		want:   []string{"200 cookie 1"},
	},
	{
		option: "session", name: "the cookie brings it back", config: minute,
		script: script{run(set("n", 1)), run(get("n"), keys, id), run(set("n", 2)), run(get("n"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "session", name: "each client has its own", config: minute,
		script: script{
			{Client: "a", Ops: []op{set("n", 1)}},
			{Client: "b", Ops: []op{set("n", 2)}},
			{Client: "a", Ops: []op{get("n")}},
			{Client: "b", Ops: []op{get("n")}},
		},
		want: []string{"200 cookie 1", "200 cookie 2", "200 - 2", "200 - 2"},
	},
	{
		option: "session", name: "an id that is not in the store is replaced", config: minute,
		script: script{run(set("n", 1)), {Clear: true, Ops: []op{get("n"), set("n", 2), id}}, run(get("n"))},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "session", name: "an id that is not in the store begins nothing by itself", config: minute,
		script: script{run(set("n", 1)), {Clear: true, Ops: []op{get("n")}}, run(keys)},
		want:   []string{"200 cookie 1", "200 - 0", "200 - 0"},
	},
	{
		option: "session", name: "an expired one is gone", config: `"cookie":{"maxAge":1000}`,
		script: script{run(set("n", 1)), {Client: "clock", Ops: []op{sleep(2100)}}, run(get("n"), set("m", 2), setMaxAge(60000)), run(keys)},
		want:   []string{"200 cookie 1", "200 - 0", "200 cookie 1", "200 - 1"},
		on:     store.endsInTime,
	},
	{
		option: "session", name: "values of all kinds", config: minute,
		script: script{
			run(
				set("text", "ü\u2028\"\\\u0000</script>😀"), set("empty", ""), set("null", nil), set("yes", true), set("no", false),
				set("whole", 12345678), set("negative", -1), set("fraction", 0.1), set("large", 1e21), set("small", 1e-7), set("zero", 0),
				set("safe", 9007199254740991.0), set("list", []any{1, []any{}, map[string]any{}, nil, "x"}),
				set("object", map[string]any{"a": map[string]any{"b": nil, "c": []any{1.5}}, "": 1, "cookie": 2}),
				set("date", "2026-01-02T03:04:05.678Z"), set("a key with spaces", 1), set("", 1), set("ключ", 1), set("0", 1),
			),
			run(keys, get("text"), get("large"), get("small"), get("list"), get("object"), get(""), get("ключ"), get("missing"), get("null")),
			run(set("n", 1)),
			run(keys),
		},
		want: []string{"200 cookie 1", "200 - 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "session", name: "a change to a part of a value counts", config: minute,
		script: script{
			run(set("user", map[string]any{"name": "bob", "cookie": 0})),
			run(set("user", map[string]any{"name": "bob", "cookie": 1})),
			run(get("user")),
		},
		want: []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "session", name: "the same value again is no change", config: minute,
		script: script{
			run(set("user", map[string]any{"name": "bob", "roles": []any{"a"}}), set("n", 1)),
			run(set("user", map[string]any{"name": "bob", "roles": []any{"a"}})),
			run(set("n", 2), set("n", 1)),
		},
		want: []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "session", name: "removing a value", config: minute,
		script: script{run(set("a", 1), set("b", 2)), run(del("a"), keys), run(del("a")), run(del("b"), keys), run(keys)},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "session", name: "in a response that is streamed", config: minute,
		script: script{run(set("a", 1), flush, sleep(50)), run(get("a"), flush), run(flush)},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "session", name: "large", config: minute,
		script: script{run(set("a", large)), run(get("a")), run(set("b", 1)), run(keys)},
		want:   []string{"200 cookie 1", "200 - 1", "200 cookie 1", "200 - 1"},
	},

	// name
	{
		option: "name", name: "default", config: minute,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "name", name: "own", config: `"name":"session_id",` + minute,
		script: script{run(set("a", 1)), run(get("a"))}, want: []string{"200 cookie 1", "200 - 1"},
	},
	{
		option: "name", name: "with symbols", config: `"name":"__a.b!#%&'*+-^|~",` + minute,
		script: script{run(set("a", 1)), run(get("a"))}, want: []string{"200 cookie 1", "200 - 1"},
	},

	// secret
	{
		option: "secret", name: "of a list the first signs", config: `"secret":["new new new new new new new new!","old old old old old old old old!"],` + minute,
		script: script{run(set("a", 1)), run(get("a"))}, want: []string{"200 cookie 1", "200 - 1"},
	},
	{
		option: "secret", name: "of a list all verify", config: `"secret":["new new new new new new new new!","old old old old old old old old!"],` + minute,
		script: script{run(set("a", 1)), {Forge: "last secret", Ops: []op{get("a"), id}}, {Forge: "last secret", Ops: []op{set("b", 1)}}},
		shows:  "signature by an older secret",
		want:   []string{"200 cookie 1", "200 - 1", "200 cookie 1"},
	},

	// proxy
	{
		option: "proxy", name: "trusted", config: `"proxy":true,"cookie":{"secure":true,"maxAge":60000}`,
		script: script{
			{Client: "a", Proto: "https", Ops: []op{set("a", 1)}},
			{Client: "b", Proto: "https, http", Ops: []op{set("a", 1)}},
			{Client: "c", Proto: " HTTPS ,http", Ops: []op{set("a", 1)}},
		},
		want: []string{"200 cookie 1", "200 cookie 2", "200 cookie 3"},
	},
	{
		option: "proxy", name: "trusted, and not secure", config: `"proxy":true,"cookie":{"secure":true,"maxAge":60000}`,
		script: script{
			run(set("a", 1)), {Proto: "http", Ops: []op{set("a", 1)}}, {Proto: "http,https", Ops: []op{set("a", 1)}}, {Proto: "httpsx", Ops: []op{set("a", 1)}},
		},
		want: []string{"200 - 1", "200 - 2", "200 - 3", "200 - 4"},
	},
	{
		option: "proxy", name: "not trusted", config: `"proxy":false,"cookie":{"secure":true,"maxAge":60000}`,
		script: script{{Proto: "https", Ops: []op{set("a", 1)}}}, want: []string{"200 - 1"},
	},
	{
		option: "proxy", name: "left out", config: `"cookie":{"secure":true,"maxAge":60000}`,
		script: script{{Proto: "https", Ops: []op{set("a", 1)}}}, want: []string{"200 - 1"},
	},

	// resave
	{
		option: "resave", name: "true saves an unmodified session", config: `"resave":true,` + minute,
		script: script{run(set("a", 1)), {Age: 30, Ops: []op{get("a")}}, {Age: 30, Ops: []op{set("a", 1)}}},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "resave", name: "true writes an unmodified record anew", config: `"resave":true,` + minute,
		script: script{run(set("a", 1)), {Record: staleRecord, Ops: []op{get("a")}}},
		want:   []string{"200 cookie 1", "200 - 1"},
		on:     store.recorded,
	},
	{
		option: "resave", name: "false leaves an unmodified record as it is", config: minute,
		script: script{run(set("a", 1)), {Record: staleRecord, Ops: []op{get("a")}}, run(get("a"), original), run(set("b", 1))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1", "200 cookie 1"},
		on:     store.recorded,
	},
	{
		option: "resave", name: "true brings back what was unchanged and deleted", config: `"resave":true,` + minute,
		script: script{
			run(set("a", 1)), {Meanwhile: true, Ops: []op{hold}}, {Client: "b", Clear: true, Ops: []op{keys}}, run(keys),
		},
		want:  []string{"200 cookie 1", "200 - 1", "200 - 0", "200 - 0"},
		here:  []string{"200 cookie 1", "200 - 0", "200 - 0", "200 - 0"},
		shows: "logout is final",
	},
	{
		option: "resave", name: "false touches an unmodified session", config: minute,
		script: script{run(set("a", 1)), {Age: 30, Ops: []op{get("a")}}, {Age: 30, Ops: []op{set("a", 1)}}},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "resave", name: "false saves a modified session", config: minute,
		script: script{run(set("a", 1)), run(get("a")), {Age: 30, Ops: []op{set("a", 2)}}, run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "resave", name: "false, a session of the browser", config: browser,
		script: script{run(set("a", 1)), run(get("a")), {Age: 30, Ops: []op{set("a", 2)}}, run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1", "200 - 1"},
	},

	// rolling
	{
		option: "rolling", name: "false sets no cookie for an unmodified session", config: minute,
		script: script{run(set("user", "bob")), run(set("user", "bob")), run()},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "rolling", name: "true sets one each time", config: `"rolling":true,` + minute,
		script: script{run(set("user", "bob")), run(set("user", "bob")), run(), run(flush)},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 cookie 1", "200 cookie 1"},
	},
	{
		option: "rolling", name: "true, a session of the browser", config: `"rolling":true,` + browser,
		script: script{run(set("user", "bob")), run(get("user"))},
		want:   []string{"200 cookie 1", "200 cookie 1"},
	},
	{
		option: "rolling", name: "true, uninitialized and not saved", config: `"rolling":true,` + minute,
		script: script{run(), run(keys), run(touch)}, want: []string{"200 - 0", "200 - 0", "200 - 0"},
	},
	{
		option: "rolling", name: "true, uninitialized and saved", config: `"rolling":true,"saveUninitialized":true,` + minute,
		script: script{run(), run()}, want: []string{"200 cookie 1", "200 cookie 1"},
	},
	{
		option: "rolling", name: "true, secure and not on https", config: `"rolling":true,"proxy":true,"cookie":{"secure":true}`,
		script: script{{Proto: "https", Ops: []op{set("a", 1)}}, run(get("a")), {Proto: "https", Ops: []op{get("a")}}},
		want:   []string{"200 cookie 1", "200 - 1", "200 cookie 1"},
	},

	// saveUninitialized
	{
		option: "saveUninitialized", name: "true", config: `"saveUninitialized":true,` + minute,
		script: script{run(), run(keys), run(set("a", 1))}, want: []string{"200 cookie 1", "200 - 1", "200 cookie 1"},
	},
	{
		option: "saveUninitialized", name: "true, a session of the browser", config: `"saveUninitialized":true,` + browser,
		script: script{run(), run(keys), run(set("a", 1))}, want: []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "saveUninitialized", name: "true, an id that is not in the store", config: `"saveUninitialized":true,` + minute,
		script: script{{Forge: "unknown id"}}, want: []string{"200 cookie 1"},
	},
	{
		option: "saveUninitialized", name: "false", config: minute,
		script: script{run(), run(get("a")), run(set("a", 1), del("a"))}, want: []string{"200 - 0", "200 - 0", "200 - 0"},
	},
	{
		option: "saveUninitialized", name: "false saves a modified session", config: minute,
		script: script{run(set("a", nil)), run(keys)}, want: []string{"200 cookie 1", "200 - 1"},
	},
	{
		option: "saveUninitialized", name: "false, saved by the handler", config: minute,
		script: script{run(save), run(set("a", 1), save), run(get("a"))}, want: []string{"200 - 1", "200 cookie 2", "200 - 2"},
	},

	// unset
	{
		option: "unset", name: "default keeps the stored session", config: minute,
		script: script{run(set("a", 1)), run(set("a", 2), unset), run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "unset", name: "keep", config: `"unset":"keep",` + minute,
		script: script{run(set("a", 1)), run(set("a", 2), unset), run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "unset", name: "keep saves nothing that is new", config: `"unset":"keep",` + minute,
		script: script{run(set("a", 2), unset)}, want: []string{"200 - 0"},
	},
	{
		option: "unset", name: "keep and what was saved before", config: `"unset":"keep",` + minute,
		script: script{run(set("a", 1)), run(set("a", 2), save, set("a", 3), unset), run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "unset", name: "keep does not touch", config: `"unset":"keep",` + minute,
		script: script{run(set("a", 1)), {Age: 30, Ops: []op{unset}}},
		want:   []string{"200 cookie 1", "200 - 1"},
	},
	{
		option: "unset", name: "keep after a touch", config: `"unset":"keep",` + minute,
		script: script{run(set("a", 1)), run(setMaxAge(30000), touch, unset)},
		want:   []string{"200 cookie 1", "200 - 1"},
		here:   []string{"200 cookie 1", "200 - 1"},
		shows:  "touch",
		on:     store.recorded,
	},
	{
		option: "unset", name: "destroy deletes at the end", config: `"unset":"destroy",` + minute,
		script: script{run(set("a", 1)), run(set("a", 2), unset), run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 0", "200 - 0"},
		here:   []string{"200 cookie 1", "200 clear 0", "200 - 0"},
	},
	{
		option: "unset", name: "destroy with an answer that is streamed", config: `"unset":"destroy",` + minute,
		script: script{run(set("a", 1)), run(set("a", 2), unset, flush), run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 0", "200 - 0"},
	},
	{
		option: "unset", name: "destroy sets no cookie for a new session", config: `"unset":"destroy","saveUninitialized":true,` + minute,
		script: script{run(unset), run(set("a", 1), unset)}, want: []string{"200 - 0", "200 - 0"},
	},
	{
		option: "unset", name: "destroy and rolling", config: `"unset":"destroy","rolling":true,` + minute,
		script: script{run(set("a", 1)), run(unset), run(keys)}, want: []string{"200 cookie 1", "200 - 0", "200 - 0"},
		here: []string{"200 cookie 1", "200 clear 0", "200 - 0"},
	},

	// cookie
	{
		option: "cookie", name: "path", config: `"cookie":{"path":"/foo/bar","maxAge":60000}`,
		script: script{
			run(),
			{Path: "/foo"},
			{Path: "/foo/ba"},
			{Path: "/x/foo/bar"},
			{Path: "/foo/bar", Ops: []op{set("a", 1)}},
			{Path: "/foo/bar/baz", Ops: []op{get("a")}},
			{Path: "/foo/barbaz", Ops: []op{get("a")}},
		},
		shows: "beside cookie.path",
		want:  []string{"200 - 0", "200 - 0", "200 - 0", "200 - 0", "200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "cookie", name: "outside the path nothing is loaded or saved", config: `"cookie":{"path":"/foo/bar","maxAge":60000}`,
		script: script{
			{Path: "/foo/bar", Ops: []op{set("a", 1)}}, {Age: 30, Ops: []op{get("a")}}, run(set("b", 1)), {Path: "/foo/bar", Ops: []op{keys}},
		},
		want: []string{"200 cookie 1", "200 - 1", "200 - 1", "200 - 1"},
	},
	{
		option: "cookie", name: "defaults", config: browser,
		script: script{run(set("a", 1), maxAge, original), run(get("a")), run(set("a", 2))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "cookie", name: "no cookie options at all", config: ``,
		script: script{run(set("a", 1), maxAge, original)}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "every attribute", config: `"proxy":true,"cookie":{"httpOnly":false,"maxAge":5000,"path":"/admin","priority":"high","secure":true,"sameSite":"none","domain":"example.com","partitioned":true}`,
		script: script{{Path: "/admin", Proto: "https", Ops: []op{set("a", 1)}}, {Path: "/admin", Proto: "https", Ops: []op{set("a", 2)}}},
		want:   []string{"200 cookie 1", "200 cookie 1"},
	},
	{
		option: "cookie", name: "httpOnly false", config: `"cookie":{"httpOnly":false}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "domain with a dot", config: `"cookie":{"domain":".example.com"}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "priority low", config: `"cookie":{"priority":"low"}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "priority medium", config: `"cookie":{"priority":"medium"}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "sameSite true", config: `"cookie":{"sameSite":true}`,
		script: script{run(set("a", 1)), run(set("a", 2))}, want: []string{"200 cookie 1", "200 - 1"},
	},
	{
		option: "cookie", name: "sameSite false", config: `"cookie":{"sameSite":false}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "sameSite lax", config: `"cookie":{"sameSite":"lax"}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "sameSite strict", config: `"cookie":{"sameSite":"strict"}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "partitioned false", config: `"cookie":{"partitioned":false}`,
		script: script{run(set("a", 1))}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "secure auto", config: `"proxy":true,"cookie":{"maxAge":60000,"secure":"auto"}`,
		script: script{{Proto: "https", Ops: []op{set("a", 1)}}, {Proto: "https", Ops: []op{set("a", 2)}}}, want: []string{"200 cookie 1", "200 cookie 1"},
	},
	{
		option: "cookie", name: "secure auto on plain HTTP", config: `"proxy":true,"cookie":{"maxAge":60000,"secure":"auto"}`,
		script: script{run(set("a", 1)), run(set("a", 2))}, want: []string{"200 cookie 1", "200 cookie 1"},
	},
	{
		option: "cookie", name: "secure auto is as the session began", config: `"proxy":true,"cookie":{"maxAge":60000,"secure":"auto"}`,
		script: script{
			{Client: "a", Proto: "https", Ops: []op{set("a", 1)}},
			{Client: "a", Ops: []op{set("a", 2)}},
			{Client: "a", Ops: []op{regenerate}},
			{Client: "b", Ops: []op{set("a", 1)}},
			{Client: "b", Proto: "https", Ops: []op{set("a", 2)}},
			{Client: "b", Proto: "https", Ops: []op{regenerate}},
		},
		want: []string{"200 cookie 1", "200 - 1", "200 cookie 1", "200 cookie 2", "200 cookie 2", "200 cookie 2"},
	},
	{
		option: "cookie", name: "secure auto without trust in a proxy", config: `"proxy":false,"cookie":{"maxAge":60000,"secure":"auto"}`,
		script: script{{Proto: "https", Ops: []op{set("a", 1)}}}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "secure auto with proxy left out", config: `"cookie":{"maxAge":60000,"secure":"auto"}`,
		script: script{{Proto: "https", Ops: []op{set("a", 1)}}}, want: []string{"200 cookie 1"},
	},
	{
		option: "cookie", name: "sameSite auto", config: `"proxy":true,"cookie":{"maxAge":60000,"secure":"auto","sameSite":"auto"}`,
		script: script{
			{Client: "a", Proto: "https", Ops: []op{set("a", 1)}},
			{Client: "a", Proto: "https", Ops: []op{set("a", 2)}},
			{Client: "b", Ops: []op{set("a", 1)}},
			{Client: "b", Proto: "https", Ops: []op{set("a", 2)}},
		},
		want: []string{"200 cookie 1", "200 cookie 1", "200 cookie 2", "200 cookie 2"},
	},
	{
		option: "cookie", name: "sameSite auto without trust in a proxy", config: `"proxy":false,"cookie":{"maxAge":60000,"secure":"auto","sameSite":"auto"}`,
		script: script{{Proto: "https", Ops: []op{set("a", 1)}}}, want: []string{"200 cookie 1"},
	},

	// cookie.maxAge and cookie.expires
	{
		option: "maxAge", name: "relative to each response", config: `"cookie":{"maxAge":20000}`,
		script: script{run(set("a", 1)), run(set("a", 2)), run(original, maxAge)},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "maxAge", name: "changed for a session", config: minute,
		script: script{
			run(set("n", 1)), run(set("n", 2), setMaxAge(5000), original, maxAge), run(original, maxAge), run(set("n", 3)),
			run(set("n", 4), setMaxAge(3000000000.0), original), run(original),
			{Client: "b", Ops: []op{set("n", 1), original}},
		},
		want: []string{"200 cookie 1", "200 cookie 1", "200 - 1", "200 cookie 1", "200 cookie 1", "200 - 1", "200 cookie 2"},
	},
	{
		option: "maxAge", name: "changed for a session, which is touched by it", config: minute,
		script: script{run(set("n", 1), setMaxAge(600000)), {Age: 30, Ops: []op{original}}, {Age: 30, Ops: []op{set("n", 2)}}},
		want:   []string{"200 cookie 1", "200 - 1", "200 cookie 1"},
	},
	{
		option: "maxAge", name: "changed to null", config: minute,
		script: script{run(set("n", 1)), run(set("n", 2), setMaxAge(nil), original, maxAge), run(original, maxAge), run(set("n", 3)), run(get("n"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1", "200 - 1", "200 - 1"},
	},
	{
		option: "maxAge", name: "null in a new session", config: minute,
		script: script{run(set("n", 1), setMaxAge(nil)), run(original), run(set("n", 2))},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "maxAge", name: "given to a session of the browser", config: browser,
		script: script{run(set("n", 1)), run(set("n", 2), setMaxAge(600000)), run(original), run(set("n", 3))},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1", "200 cookie 1"},
	},
	{
		option: "maxAge", name: "negative ends the session", config: minute,
		script: script{run(set("n", 1)), run(set("n", 2), setMaxAge(-60000), original), run(get("n"), set("n", 1)), run(get("n"))},
		want:   []string{"200 cookie 1", "200 clear 0", "200 cookie 1", "200 - 1"},
		on:     store.endsInTime,
	},
	{
		option: "maxAge", name: "negative in a new session", config: minute,
		script: script{run(set("n", 1), setMaxAge(-60000)), run(get("n"))},
		want:   []string{"200 clear 0", "200 - 0"},
		on:     store.endsInTime,
	},
	{
		option: "maxAge", name: "negative, and the session touched and saved", config: minute,
		script: script{run(set("n", 1)), run(set("n", 2), setMaxAge(-60000), touch, save, get("n"))},
		want:   []string{"200 cookie 1", "200 clear 0"},
		on:     store.endsInTime,
	},
	{
		option: "maxAge", name: "changed in a session that is then regenerated", config: minute,
		script: script{run(set("n", 1)), run(set("n", 2), setMaxAge(600000), regenerate, original), run(original)},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "maxAge", name: "changed and reloaded", config: minute,
		script: script{run(set("n", 1)), run(set("n", 2), setMaxAge(600000), reload, original, get("n")), run(original)},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "expires", name: "a date", config: `"cookie":{"expires":"2099-01-02T03:04:05.000Z"}`,
		script: script{run(set("n", 1), original, maxAge), run(set("n", 2)), {Age: 30, Ops: []op{original}}},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "expires", name: "before maxAge", config: `"cookie":{"expires":"2099-01-02T03:04:05.000Z","maxAge":60000}`,
		script: script{run(set("n", 1), original, maxAge)}, want: []string{"200 cookie 1"},
	},
	{
		option: "expires", name: "after maxAge", config: `"cookie":{"maxAge":60000,"expires":"2099-01-02T03:04:05.000Z"}`,
		script: script{run(set("n", 1), original, maxAge)}, want: []string{"200 cookie 1"},
	},

	// destroy
	{
		option: "destroy", name: "deletes and sets no cookie", config: minute,
		script: script{run(set("a", 1)), run(destroy), run(get("a"))}, want: []string{"200 cookie 1", "200 - 0", "200 - 0"},
		here: []string{"200 cookie 1", "200 clear 0", "200 - 0"},
	},
	{
		option: "destroy", name: "a new session", config: `"saveUninitialized":true,` + minute,
		script: script{run(destroy), run(set("a", 1), destroy)}, want: []string{"200 - 0", "200 - 0"},
	},
	{
		option: "destroy", name: "after a change", config: `"rolling":true,"resave":true,` + minute,
		script: script{run(set("a", 1)), run(set("a", 2), save, destroy), run(keys)}, want: []string{"200 cookie 1", "200 - 0", "200 - 0"},
		here: []string{"200 cookie 1", "200 clear 0", "200 - 0"},
	},
	{
		option: "destroy", name: "with unset destroy", config: `"unset":"destroy",` + minute,
		script: script{run(set("a", 1)), run(destroy), run(keys)}, want: []string{"200 cookie 1", "200 - 0", "200 - 0"},
		here: []string{"200 cookie 1", "200 clear 0", "200 - 0"},
	},
	{
		option: "destroy", name: "twice over, by two requests", config: minute,
		script: script{run(set("a", 1)), {Meanwhile: true, Ops: []op{hold, destroy}}, run(destroy)},
		want:   []string{"200 cookie 1", "200 - 0", "200 - 0"},
	},

	// regenerate
	{
		option: "regenerate", name: "replaces the session and its id", config: minute,
		script: script{run(set("a", 1), id), run(regenerate, keys, id), run(keys, id)}, want: []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "regenerate", name: "and then filled", config: minute,
		script: script{run(set("a", 1)), run(regenerate, set("b", 2), keys), run(keys)}, want: []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "regenerate", name: "a new session", config: minute,
		script: script{run(regenerate), run(regenerate, regenerate)}, want: []string{"200 cookie 1", "200 cookie 1"},
	},
	{
		option: "regenerate", name: "a session of the browser", config: browser,
		script: script{run(set("a", 1)), run(regenerate)}, want: []string{"200 cookie 1", "200 cookie 1"},
	},
	{
		option: "regenerate", name: "and destroy", config: minute,
		script: script{run(set("a", 1)), run(regenerate, set("a", 2), destroy), run(keys)}, want: []string{"200 cookie 1", "200 - 0", "200 - 0"},
	},
	{
		option: "regenerate", name: "and save", config: minute,
		script: script{run(set("a", 1)), run(regenerate, save, set("a", 2)), run(keys)}, want: []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "regenerate", name: "and reload of what is not saved", config: minute,
		script: script{run(set("a", 1)), run(regenerate, reload), run(keys)}, want: []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},

	// reload
	{
		option: "reload", name: "reads what another request has saved", config: minute,
		script: script{
			run(set("a", 1)), {Meanwhile: true, Ops: []op{set("a", "mine"), hold, reload, get("a"), keys}}, run(set("a", "theirs"), set("b", 1)), run(keys, get("a")),
		},
		want: []string{"200 cookie 1", "200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "reload", name: "drops changes", config: minute,
		script: script{run(set("a", 1)), run(set("a", 2), set("b", 1), reload, keys, get("a")), run(keys)}, want: []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "reload", name: "a session that is not stored", config: minute,
		script: script{run(set("a", 1), reload), run(get("a"))}, want: []string{"200 cookie 1", "200 - 1"},
	},
	{
		option: "reload", name: "a session that is gone", config: minute,
		script: script{run(set("a", 1)), {Meanwhile: true, Ops: []op{hold, reload}}, {Client: "b", Clear: true}, run(keys)},
		want:   []string{"200 cookie 1", "200 - 0", "200 - 0", "200 - 0"},
	},
	{
		option: "reload", name: "and then a change", config: minute,
		script: script{run(set("a", 1)), run(reload, set("a", 2)), run(get("a"))}, want: []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "reload", name: "again and again", config: minute,
		script: script{run(set("a", 1)), run(reload, reload, reload, reload, reload, reload, get("a"))}, want: []string{"200 cookie 1", "200 - 1"},
	},

	// save
	{
		option: "save", name: "stores at once", config: minute,
		script: script{{Meanwhile: true, Ops: []op{set("a", 1), save, hold}}, {Client: "b"}}, want: []string{"200 cookie 1", "200 - 1"},
	},
	{
		option: "save", name: "and no more at the end", config: minute,
		script: script{run(set("a", 1), save), {Age: 30, Ops: []op{set("a", 2), save, get("a")}}, run(get("a"))},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "save", name: "and a change after it", config: minute,
		script: script{run(set("a", 1), save, set("b", 2)), run(set("a", 3), save, del("b")), run(keys, get("a"))},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "save", name: "of an unmodified session", config: minute,
		script: script{run(set("a", 1)), {Age: 30, Ops: []op{save}}, run(get("a"))}, want: []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "save", name: "of a reloaded session", config: `"resave":true,` + minute,
		script: script{run(set("a", 1)), run(set("a", 2), reload, save, get("a")), run(get("a"))}, want: []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "save", name: "with saveUninitialized", config: `"saveUninitialized":true,` + minute,
		script: script{run(set("a", 1), save), run(save)}, want: []string{"200 cookie 1", "200 - 1"},
	},

	// touch
	{
		option: "touch", name: "resets the expiry", config: minute,
		script: script{run(set("a", 1), touch), {Age: 30, Ops: []op{touch}}, {Age: 30, Ops: []op{touch, maxAge}}},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
	},
	{
		option: "touch", name: "of a session that is not stored", config: minute,
		script: script{run(touch, maxAge), run(touch)}, want: []string{"200 - 0", "200 - 0"},
	},
	{
		option: "touch", name: "of a session that is gone brings nothing back", config: minute,
		script: script{run(set("a", 1)), {Meanwhile: true, Ops: []op{hold}}, {Client: "b", Clear: true}, run(keys)},
		want:   []string{"200 cookie 1", "200 - 0", "200 - 0", "200 - 0"},
	},
	{
		option: "touch", name: "when the client did not send this id", config: minute,
		script: script{run(set("a", 1)), {Forge: "none", Age: 30, Ops: []op{keys}}}, want: []string{"200 cookie 1", "200 - 1"},
	},

	// The differences on purpose.
	{
		option: "difference", name: "resave and saveUninitialized left out", config: `{"secret":"parity parity parity parity pari","cookie":{"maxAge":60000}}`,
		script: script{{Client: "b"}, {Clear: true, Ops: []op{set("a", 1)}}, {Meanwhile: true, Ops: []op{hold}}, {Client: "c", Clear: true, Ops: []op{unset}}},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1", "200 - 0"},
		here:   []string{"200 - 0", "200 cookie 1", "200 - 0", "200 - 0"},
		shows:  "defaults",
	},
	{
		option: "guarantee", name: "a change while another request logs out", config: minute,
		script: script{run(set("user", "bob")), {Meanwhile: true, Ops: []op{hold, set("a", 1)}}, run(destroy), run(keys)},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 0", "200 - 0"},
		here:   []string{"200 cookie 1", "200 - 0", "200 clear 0", "200 - 0"},
		shows:  "logout is final",
	},
	{
		option: "guarantee", name: "a change while another request regenerates", config: minute,
		script: script{run(set("user", "bob")), {Meanwhile: true, Ops: []op{hold, set("a", 1)}}, run(regenerate), run(keys)},
		want:   []string{"200 cookie 1", "200 cookie 2", "200 cookie 1", "200 - 1"},
		here:   []string{"200 cookie 1", "200 - 1", "200 cookie 1", "200 - 1"},
		shows:  "logout is final",
	},
	{
		option: "guarantee", name: "save after another request has logged out", config: minute,
		script: script{run(set("user", "bob")), {Meanwhile: true, Ops: []op{hold, save}}, run(destroy)},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 0"},
		here:   []string{"200 cookie 1", "200 - 0", "200 clear 0"},
		shows:  "logout is final",
	},
	{
		option: "guarantee", name: "two changes at once", config: minute,
		script: script{run(set("a", 1)), {Meanwhile: true, Ops: []op{hold, set("b", 1)}}, run(set("c", 1))},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 cookie 1"},
		here:   []string{"200 cookie 1", "200 cookie 1", "200 cookie 1"},
		shows:  "no lost update",
	},
	{
		option: "session", name: "two changes of one key at once", config: minute,
		script: script{run(set("a", 1)), {Meanwhile: true, Ops: []op{hold, set("a", 2)}}, run(set("a", 3)), run(get("a"))},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 cookie 1", "200 - 1"},
	},
	{
		option: "difference", name: "the response begins", config: minute,
		script: script{{Meanwhile: true, Ops: []op{set("a", 1), flush, hold}}, {Client: "b"}},
		want:   []string{"200 cookie 1", "200 - 0"},
		here:   []string{"200 cookie 1", "200 - 1"},
		shows:  "saved before seen",
	},
	{
		option: "difference", name: "a change after the response has begun", config: minute,
		script: script{run(set("a", 1)), run(set("a", 2), flush, set("b", 1)), run(flush, set("a", 3), save)},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
		here:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
		shows:  "late change",
	},
	{
		option: "maxAge", name: "changed and nothing else, in memory", config: minute,
		script: script{run(set("a", 1)), run(setMaxAge(600000)), run(original)},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
		on:     inMemory,
	},
	{
		option: "maxAge", name: "changed and nothing else", config: minute,
		script: script{run(set("a", 1)), run(setMaxAge(600000)), run(original)},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
		here:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
		shows:  "maxAge alone",
		on:     store.recorded,
	},
	{
		option: "difference", name: "maxAge of a session that has waited", config: minute,
		script: script{run(set("a", 1)), {Client: "clock", Ops: []op{sleep(6000)}}, run(maxAge)},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
		shows:  "time left",
	},
	{
		option: "difference", name: "keys in another order", config: minute,
		script: script{run(set("a", 1), set("b", 2)), run(del("a"), set("a", 1)), run(keys)},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
		here:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
		shows:  "order of keys",
	},
	{
		option: "difference", name: "a name of Object's as a key", config: minute,
		script: script{run(set("constructor", 1), set("a", 1)), run(keys)},
		want:   []string{"200 cookie 1", "200 cookie 1"},
		here:   []string{"200 cookie 1", "200 - 1"},
		shows:  "names of JavaScript's",
	},
	{
		option: "difference", name: "a name of Session's as a key", config: minute,
		script: script{run(set("id", 1)), run(keys)},
		want:   []string{"200 - 0", "200 - 0"},
		here:   []string{"200 cookie 1", "200 - 1"},
		shows:  "names of JavaScript's",
	},
	{
		option: "session", name: "a record with a name of Session's as a key", config: minute,
		script: script{
			run(set("a", 1)),
			{Record: strings.Replace(staleRecord, `"a":`, `"save":"nope","a":`, 1), Ops: []op{get("a"), keys}},
			run(set("b", 1), save),
		},
		want:  []string{"200 cookie 1", "200 cookie 1", "200 cookie 1"},
		here:  []string{"200 cookie 1", "200 - 1", "200 cookie 1"},
		shows: "names of JavaScript's",
		on:    store.recorded,
	},
	{
		option: "difference", name: "a session begun after destroy", config: minute,
		script: script{run(set("a", 1)), run(destroy, set("b", 1)), run(keys)},
		want:   []string{"200 cookie 1", "200 - 0", "200 - 0"},
		here:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
		shows:  "after destroy",
	},
	{
		option: "difference", name: "a change after unset", config: minute,
		script: script{run(set("a", 1)), run(unset, set("b", 1)), run(keys)},
		want:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
		here:   []string{"200 cookie 1", "200 - 1", "200 - 1"},
		shows:  "after destroy",
	},
	{
		option: "session", name: "a record without a cookie", config: minute,
		script: script{run(set("a", 1)), {Record: `{"a":1}`, Ops: []op{get("a")}}},
		want:   []string{"200 cookie 1", "500 - 1"},
		here:   []string{"200 cookie 1", "200 - 0"},
		shows:  "broken record",
		on:     store.recorded,
	},
	{
		option: "guarantee", name: "an expired session ends at once", config: minute,
		script: script{run(set("a", 1)), {Age: -1, Ops: []op{get("a"), id}}},
		want:   []string{"200 cookie 1", "200 - 1"},
		here:   []string{"200 cookie 1", "200 - 0"},
		shows:  "connect-session-sequelize after the expiry",
		on:     func(s store) bool { return s.FindsExpired },
	},
	{
		option: "difference", name: "a large session", config: minute,
		script: script{run(set("a", 1)), run(set("b", strings.Repeat("x", 5<<20))), run(get("a"))},
		want:   []string{"200 cookie 1", "200 cookie 1", "200 - 1"},
		here:   []string{"200 cookie 1", "500 - 1", "200 - 1"},
		shows:  "size",
	},
	{
		option: "difference", name: "absolute lifetime", config: `"absoluteLifetime":"1m","rolling":true,` + minute,
		script: script{run(set("a", 1)), {Client: "clock", Ops: []op{sleep(6500)}}, run(get("a"))},
		want:   []string{"200 cookie 1", "200 - 1", "200 cookie 1"},
		here:   []string{"200 cookie 1", "200 - 1", "200 cookie 1"},
		shows:  "absolute lifetime",
	},
	{
		option: "touch", name: "of a session of the browser", config: browser,
		script: script{run(set("a", 1)), {Age: 30, Ops: []op{get("a")}}},
		want:   []string{"200 cookie 1", "200 - 1"},
	},
}

// staleRecord has a cookie that differs from the configuration's.
const staleRecord = `{"cookie":{"originalMaxAge":600000,"expires":"2099-01-02T03:04:05.678Z","secure":false,"httpOnly":false,"path":"/","sameSite":"lax"},"a":2}`

// large is a value of a megabyte.
var large = func() string {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}()

// Cookies that must not be accepted, and some that are merely odd.
func init() {
	behaviours = append(behaviours, behaviour{
		option: "cookie.domain", name: "two cookies", config: `"cookie":{"maxAge":60000,"domain":"example.com"}`,
		script: script{run(set("a", 1)), {Forge: "bad one first", Ops: []op{set("b", 1)}}, {Forge: "good one first", Ops: []op{keys}}},
		want:   []string{"200 cookie 1", "200 cookie 2", "200 - 2"},
		shows:  "two cookies of one name",
	})
	for _, name := range slices.Sorted(maps.Keys(forgeries)) {
		if name == "last secret" {
			continue // it needs a list of secrets
		}
		behaviours = append(behaviours, behaviour{
			option: "signature", name: name, config: minute,
			script: script{run(set("a", 1)), {Forge: name, Ops: []op{get("a"), keys}}, {Forge: name, Ops: []op{set("b", 1)}}, run(keys)},
		})
	}
}
