package samesidotel_test

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// encoder writes attributes as a=1,b=2.
type encoder struct{}

func (encoder) Encode(it attribute.Iterator) string {
	var parts []string
	for it.Next() {
		a := it.Attribute()
		parts = append(parts, string(a.Key)+"="+a.Value.String())
	}
	return strings.Join(parts, ",")
}

func (encoder) ID() attribute.EncoderID { return encoderID }

var encoderID = attribute.NewEncoderID()
