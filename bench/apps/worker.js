// A Worker, as workerd runs it.
export default {
  async fetch() {
    return Response.json({ message: "Hello serverless world!" });
  },
};
