export default {
  async fetch(request) {
    await request.json();
    const greeting = JSON.parse('{"text": "hello"}').text;
    return new Response(greeting + "\n", { headers: { "Content-Type": "text/plain" } });
  },
};
