package wire

import (
	"encoding/json"
	"math"
	"strconv"
)

// number returns the value of a number in JSON's grammar, as Record.Values documents.
func number(literal []byte) any {
	d := parseDecimal(literal)
	if d.count == 0 {
		if d.negative {
			return math.Copysign(0, -1) // an int can't hold the sign
		}
		return 0
	}
	if n, ok := d.integer(); ok {
		return integer(n)
	}
	if d.count <= maxDigits {
		if f, err := strconv.ParseFloat(string(literal), 64); err == nil && d.isShortestOf(f) {
			return f
		}
	}
	return json.Number(literal)
}

// integer returns n as an int if an int can hold it.
func integer(n int64) any {
	if int64(int(n)) == n {
		return int(n)
	}
	return n
}

// decimal is exactly digits × 10^exp. The last digit is not 0.
type decimal struct {
	negative bool
	digits   uint64
	count    int // the number of digits; beyond maxDigits, digits and exp are undefined
	exp      int
}

const (
	// maxDigits is the number of decimal digits that a uint64 can always hold. An
	// int64 has no more, and the shortest form of a float64 has at most 17.
	maxDigits = 19

	// maxExp also stands for any greater exponent: both are far out of the range
	// of a float64 and of an int.
	maxExp = 1 << 26
)

func parseDecimal(literal []byte) (d decimal) {
	if literal[0] == '-' {
		d.negative = true
		literal = literal[1:]
	}
	zeros := 0 // since the last digit that is not 0
	fraction := false
	for i, c := range literal {
		if c == '.' {
			fraction = true
			continue
		}
		if !isDigit(c) {
			d.exp += parseExp(literal[i+1:])
			break
		}
		if fraction {
			d.exp--
		}
		switch {
		case c != '0':
			for d.count += zeros + 1; zeros > 0 && d.count <= maxDigits; zeros-- {
				d.digits *= 10
			}
			d.digits = d.digits*10 + uint64(c-'0')
			zeros = 0
		case d.count > 0:
			zeros++
		}
	}
	d.exp += zeros
	return d
}

func parseExp(s []byte) int {
	negative := s[0] == '-'
	if s[0] == '-' || s[0] == '+' {
		s = s[1:]
	}
	exp := 0
	for _, c := range s {
		exp = min(exp*10+int(c-'0'), maxExp)
	}
	if negative {
		return -exp
	}
	return exp
}

// integer returns d, and reports whether d is a whole number that an int64 can hold.
func (d decimal) integer() (n int64, ok bool) {
	if d.exp < 0 || d.count+d.exp > maxDigits {
		return 0, false
	}
	u := d.digits
	for range d.exp {
		u *= 10
	}
	if d.negative {
		return -int64(u), u <= -math.MinInt64
	}
	return int64(u), u <= math.MaxInt64
}

// isShortestOf reports whether d is the shortest decimal that parses to f. d must parse
// to f.
func (d decimal) isShortestOf(f float64) bool {
	// No two decimals of 15 digits parse to the same normal float64.
	if magnitude := d.count + d.exp; d.count <= 15 && -300 < magnitude && magnitude < 300 {
		return true
	}
	var room [32]byte
	return parseDecimal(strconv.AppendFloat(room[:0], f, 'e', -1, 64)) == d
}
