package auth

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// A preference is how strongly a client prefers a media type.
type preference struct {
	quality     float64
	specificity int // of the range that matches it: 2 text/html, 1 text/*, 0 */*
	position    int // of that range in the header
}

// prefersHTML reports whether the Accept header prefers text/html to
// application/json (RFC 9110, section 12.5.1). As with Express's req.accepts, the
// quality decides, then the more specific range, then the earlier one. A client
// without a preference, such as curl or fetch, counts as a program.
func prefersHTML(h http.Header) bool {
	ranges := strings.Split(strings.Join(h.Values("Accept"), ","), ",")
	html, json := preferenceFor("text", "html", ranges), preferenceFor("application", "json", ranges)
	switch {
	case html.quality != json.quality:
		return html.quality > json.quality
	case html.specificity != json.specificity:
		return html.specificity > json.specificity
	}
	return html.position < json.position
}

func preferenceFor(major, minor string, ranges []string) preference {
	best := preference{specificity: -1}
	for i, text := range ranges {
		mediaRange, params, err := mime.ParseMediaType(text)
		if err != nil {
			continue
		}
		p := preference{quality: 1, position: i}
		switch mediaRange {
		case major + "/" + minor:
			p.specificity = 2
		case major + "/*":
			p.specificity = 1
		case "*/*":
		default:
			continue
		}
		if q, ok := params["q"]; ok {
			if p.quality, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		if p.specificity > best.specificity {
			best = p
		}
	}
	return best
}
