package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// signedInRecord is a session with a user object, as after a login.
const signedInRecord = `{"cookie":{"originalMaxAge":604800000,"expires":"2026-11-29T20:52:08.665Z","secure":false,"httpOnly":true,"path":"/"},` +
	`"user":{"id":42,"name":"Ada Lovelace","email":"ada@example.com","roles":["admin","editor"]}}`

const sessionID = "4Fn7xQ0Yb3ZkUuT1sJcVw2R9aEoLhGiD"

var benchSigner = NewSigner([]string{"0123456789abcdef0123456789abcdef"})

func BenchmarkDecode(b *testing.B) {
	const cookie = `{"cookie":{"originalMaxAge":604800000,"expires":"2026-11-29T20:52:08.665Z","secure":false,"httpOnly":true,"path":"/"}`
	for _, record := range []struct{ name, text string }{
		{"small", cookie + `,"user":{"id":1,"name":"x"}}`},
		{"signed-in", signedInRecord},
		{"scalars", cookie + `,"user":"5f1c","visits":1234,"ratio":0.25,"admin":false,"theme":"dark"}`},
	} {
		for name, decode := range map[string]func([]byte) (Record, error){"values": decodeValues, "record": DecodeRecord} {
			b.Run(record.name+"/"+name, func(b *testing.B) {
				in := []byte(record.text)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := decode(in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	rec, err := DecodeRecord([]byte(signedInRecord))
	if err != nil {
		b.Fatal(err)
	}
	raw := map[string]any{"user": rec.Raw["user"]}
	for name, values := range map[string]map[string]any{"decoded": rec.Values, "raw": raw} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				if buf, err = AppendRecord(buf[:0], rec.Cookie, values); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		benchSigner.Sign(sessionID)
	}
}

func BenchmarkUnsign(b *testing.B) {
	value := benchSigner.Sign(sessionID)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := benchSigner.Unsign(value); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkCookieValue(b *testing.B) {
	headers := []string{"theme=dark; connect.sid=" + EncodeURIComponent(benchSigner.Sign(sessionID))}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := CookieValue(headers, "connect.sid"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkSetCookie(b *testing.B) {
	age := int64(604800)
	c := SetCookie{
		Name: "connect.sid", Value: benchSigner.Sign(sessionID), MaxAge: &age, Path: "/",
		Expires: time.Date(2026, 11, 29, 20, 52, 8, 0, time.UTC), HTTPOnly: true, Secure: true, SameSite: "lax",
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = c.String()
	}
}

func BenchmarkDecodeLargeRecord(b *testing.B) {
	member := `"user":{"id":1234567,"name":"Ada Lovelace","email":"ada@example.com","roles":["admin","editor"],"active":true},`
	for _, value := range []struct{ name, text string }{
		{"text", `"` + strings.Repeat("a text of words ", 6400) + `"`},
		{"unicode", `"` + strings.Repeat("ein Wörterbuch…", 6400) + `"`},
		{"object", "{" + strings.Repeat(member, 900) + `"last":null}`},
		{"object-of-texts", "{" + strings.Repeat(`"title":"`+strings.Repeat("a text of words ", 16)+`",`, 400) + `"last":null}`},
	} {
		b.Run(value.name, func(b *testing.B) {
			in := []byte(`{"cookie":{"path":"/"},"v":` + value.text + `}`)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeValues(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUnmarshal is beside encoding/json, whose speed differs between Go releases.
func BenchmarkUnmarshal(b *testing.B) {
	type user struct {
		ID    int      `json:"id"`
		Name  string   `json:"name"`
		Roles []string `json:"roles"`
		Note  string   `json:"note"`
	}
	for size, note := range map[string]string{"small": "", "10k": strings.Repeat("x", 10_000), "100k": strings.Repeat("x", 100_000)} {
		in := []byte(`{"id":42,"name":"Ada Lovelace","roles":["admin","editor"],"note":"` + note + `"}`)
		for name, unmarshal := range map[string]func([]byte, any) error{"own": Unmarshal, "encoding-json": json.Unmarshal} {
			b.Run(size+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(in)))
				b.ReportAllocs()
				for b.Loop() {
					var u user
					if err := unmarshal(in, &u); err != nil || u.ID != 42 {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkAppendText writes a long text of a session.
func BenchmarkAppendText(b *testing.B) {
	text := strings.Repeat("x", 100_000)
	buf := make([]byte, 0, len(text)+2)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		buf = appendText(buf[:0], text)
	}
}
