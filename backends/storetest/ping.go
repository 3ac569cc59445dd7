package storetest

var pingTests = []test{
	{name: "while it works", needs: []string{"Ping"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.ok(e.store.(pinger).Ping(e.Context()), "Ping")
		e.wantFound("id", body(1), "after Ping")
	}},
	{name: "after Close", needs: []string{"Ping"}, run: func(e *env) {
		c, ok := e.store.(closer)
		if !ok {
			return
		}
		e.ok(c.Close(), "Close")
		if err := e.store.(pinger).Ping(e.Context()); err == nil {
			e.Error("Ping succeeds after Close")
		}
	}},
}
