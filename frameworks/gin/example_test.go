package samesidgin_test

import (
	"log"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/frameworks/gin"
)

func Example() {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		log.Fatal(err)
	}
	r := gin.New()
	r.Use(gin.Recovery(), samesidgin.Sessions(sessions))
	r.GET("/", func(c *gin.Context) {
		n := sessions.GetInt(c.Request.Context(), "visits") + 1
		sessions.Put(c.Request.Context(), "visits", n)
		c.String(http.StatusOK, "visit %d", n)
	})
	// Output:
}
