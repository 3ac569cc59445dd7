package samesidprometheus_test

import (
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/metrics/prometheus"
)

func Example() {
	numbers := samesidprometheus.New()
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{"0123456789abcdef0123456789abcdef"},
		Observe: numbers.Observe,
	})
	if err != nil {
		log.Fatal(err)
	}
	numbers.Add(sessions)
	prometheus.MustRegister(numbers)

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler()) // outside of the sessions
	mux.Handle("/", sessions.LoadAndSave(http.NotFoundHandler()))
	// Output:
}
