package samesidotel_test

import (
	"log"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/metrics/otel"
)

func Example() {
	telemetry, err := samesidotel.New(samesidotel.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{"0123456789abcdef0123456789abcdef"},
		Observe: telemetry.Observe,
	})
	if err != nil {
		log.Fatal(err)
	}
	telemetry.Add(sessions)
	// Output:
}
