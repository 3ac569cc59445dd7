package storetest

var findTests = []test{
	{name: "unknown id", run: func(e *env) {
		e.wantAbsent("unknown", "in an empty store")
		e.commit("known", body(1), inAnHour())
		e.wantAbsent("unknown", "beside a record")
	}},
	{name: "with and without a context", run: func(e *env) {
		e.ok(e.store.Commit("plain", body(1), inAnHour()), "Commit")
		e.wantFound("plain", body(1), "after Commit")
		e.commit("ctx", body(2), inAnHour())
		e.wantFound("ctx", body(2), "after CommitCtx")
	}},
	{name: "by a second handle", run: func(e *env) {
		other := e.second()
		for n := range 3 {
			e.ok(other.CommitCtx(e.Context(), "id", body(n), inAnHour()), "CommitCtx")
			e.wantFound("id", body(n), "after the other handle's CommitCtx")
		}
		e.ok(other.DeleteCtx(e.Context(), "id"), "DeleteCtx")
		e.wantAbsent("id", "after the other handle's DeleteCtx")
	}},
	{name: "data is the caller's", run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		data, _, err := e.store.Find("id")
		e.ok(err, "Find")
		scribble(data)
		e.wantFound("id", body(1), "after changing what Find returned")
		data, _, err = e.store.FindCtx(e.Context(), "id")
		e.ok(err, "FindCtx")
		scribble(data)
		e.wantFound("id", body(1), "after changing what FindCtx returned")
	}},
}

var commitTests = []test{
	{name: "replaces", run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.commit("beside", body(2), inAnHour())
		for _, data := range [][]byte{body(3), body(1000000), body(4)} {
			e.commit("id", data, inAnHour())
			e.wantFound("id", data, "after a second Commit")
		}
		e.wantFound("beside", body(2), "beside a second Commit")
	}},
	{name: "keeps no slice", run: func(e *env) {
		for _, token := range []string{"new", "new", "again"} {
			data := append(make([]byte, 0, 64), body(1)...)
			e.commit(token, data, inAnHour())
			scribble(data)
			e.wantFound(token, body(1), "after changing what CommitCtx was given")
			data = append(make([]byte, 0, 64), body(2)...)
			e.ok(e.store.Commit(token, data, inAnHour()), "Commit")
			scribble(data)
			e.wantFound(token, body(2), "after changing what Commit was given")
		}
	}},
	{name: "no bytes", only: anyBytes, run: func(e *env) {
		e.commit("empty", []byte{}, inAnHour())
		e.wantFound("empty", []byte{}, "after committing an empty slice")
		e.commit("nil", nil, inAnHour())
		e.wantFound("nil", []byte{}, "after committing nil")
	}},
}

var deleteTests = []test{
	{name: "removes", run: func(e *env) {
		e.commit("plain", body(1), inAnHour())
		e.commit("ctx", body(2), inAnHour())
		e.commit("beside", body(3), inAnHour())
		e.ok(e.store.Delete("plain"), "Delete")
		e.wantAbsent("plain", "after Delete")
		e.wantFound("ctx", body(2), "beside Delete")
		e.ok(e.store.DeleteCtx(e.Context(), "ctx"), "DeleteCtx")
		e.wantAbsent("ctx", "after DeleteCtx")
		e.wantFound("beside", body(3), "beside DeleteCtx")
	}},
	{name: "unknown id", run: func(e *env) {
		e.ok(e.store.Delete("unknown"), "Delete of an unknown id")
		e.ok(e.store.DeleteCtx(e.Context(), "unknown"), "DeleteCtx of an unknown id")
		e.commit("id", body(1), inAnHour())
		for range 2 {
			e.ok(e.store.Delete("id"), "Delete, twice")
		}
	}},
	{name: "then commit", run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.ok(e.store.Delete("id"), "Delete")
		e.commit("id", body(2), inAnHour())
		e.wantFound("id", body(2), "after Delete and Commit")
	}},
}
